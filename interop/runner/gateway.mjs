// The real gateway, as a process.

import { spawn } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { root } from './paths.mjs'

const jwtSecret = 'interop-secret-of-more-than-32-bytes'
const publishKey = 'interop-key'

/** A token for a user, signed with another secret if it is to be refused. */
export function token(user, { secret = jwtSecret } = {}) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ sub: user })}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

export class Gateway {
  #child
  #exited

  /** Resolves when the gateway listens. `binary` is the path of its program. */
  static async start(binary, options = []) {
    const gateway = new Gateway()
    await gateway.#start(binary, options)
    return gateway
  }

  async #start(binary, options) {
    const access = ['--jwt-secret', jwtSecret, '--publish-key', publishKey]
    const child = spawn(
      join(root, '.ci/bound'),
      [binary, 'serve', '--listen', '127.0.0.1:0', '--log', 'error', ...access, ...options],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    this.#child = child
    this.#exited = new Promise((resolve) => child.once('exit', resolve))
    this.port = await new Promise((resolve, reject) => {
      let printed = ''
      child.stdout.on('data', (chunk) => {
        printed += chunk
        const found = /^listening on http:\/\/127\.0\.0\.1:(\d+)$/m.exec(printed)
        if (found) resolve(Number(found[1]))
      })
      child.once('exit', (code) => reject(new Error(`the gateway ended with ${code} before it listened`)))
    })
  }

  /** Publishes drafts and returns once the store has them. */
  async publish(drafts) {
    const answer = await this.#ask('/v1/publish', JSON.stringify(drafts))
    if (answer.status !== 200 || answer.text.includes('"error"')) {
      throw new Error(`publish: ${answer.status} ${answer.text}`)
    }
  }

  /** The cursor of the newest event, which is where a client that comes now would begin. */
  async tail(user) {
    return JSON.parse((await this.#ask(`/v1/poll?wait=0&access_token=${token(user)}`)).text).cursor
  }

  /** How many connections have a session. */
  async connections() {
    return JSON.parse((await this.#ask('/health')).text).connections
  }

  /** Begins a drain that cannot end before the gateway is killed: a request with half a body is in flight. */
  async drain() {
    const held = net.connect(this.port, '127.0.0.1')
    held.on('error', () => {})
    await new Promise((resolve) => held.once('connect', resolve))
    const head = `POST /v1/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${publishKey}\r\n`
    held.write(`${head}Content-Length: 100\r\n\r\n{`)
    // Once the gateway answers a later request, it has read the head.
    await this.#ask('/health')
    this.#child.kill('SIGTERM')
    // A connection that was there when the drain began may end without an answer.
    const status = () =>
      this.#ask('/ready').then(
        (answer) => answer.status,
        () => null,
      )
    while ((await status()) !== 503);
  }

  /** One request on a connection of its own: a POST if it has a body. */
  #ask(path, body) {
    return new Promise((resolve, reject) => {
      const request = http.request({
        agent: false,
        host: '127.0.0.1',
        port: this.port,
        path,
        method: body ? 'POST' : 'GET',
        headers: body ? { authorization: `Bearer ${publishKey}` } : {},
      })
      request.on('error', reject)
      request.on('response', (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('error', reject)
        response.on('data', (chunk) => {
          text += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode, text }))
      })
      request.end(body)
    })
  }

  async kill() {
    this.#child.kill('SIGKILL')
    await this.#exited
  }
}

/** A directory for a disk store. */
export class Directory {
  path = mkdtempSync(join(tmpdir(), 'throughline-interop-'))

  remove() {
    rmSync(this.path, { recursive: true, force: true })
  }
}
