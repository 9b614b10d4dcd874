// One user behind a proxy, without a browser: raw connections, so that they can be abandoned as a
// browser that is killed abandons them. A browser's headers are there; what authenticates is the
// cookie, or `user=` in development.

import { createHmac } from 'node:crypto'
import { request } from 'node:http'
import { WebSocket } from 'ws'

export const SECRET = 'a secret of the proxies, thirty-two bytes'
export const KEY = 'publish-key'
/**
 * Any answer may take this long: some of the proxies compile at first, and the machine may be busy.
 */
const ANSWER_MS = 60_000

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A token that may subscribe and publish to everything. */
export function tokenOf(user) {
  const claims = { sub: user, exp: Math.floor(Date.now() / 1000) + 3600, subscribe: ['*'], publish: ['*'] }
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`
}

/** @throws Error when the promise is not kept in time. */
export function within(promise, what, ms = ANSWER_MS) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing in ${ms / 1000} s`)), ms)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** The messages of one connection as they come. */
class Messages {
  #waiting = []
  #come = []
  #end = null

  push(message) {
    this.#come.push(message)
    this.#wake()
  }

  end(error) {
    this.#end ??= error
    this.#wake()
  }

  get isOpen() {
    return !this.#end
  }

  #wake() {
    for (const wake of this.#waiting.splice(0)) wake()
  }

  /** The first that came, or comes, for which `wanted` is true. Those before it are dropped. */
  async take(wanted, what, ms) {
    const find = async () => {
      for (;;) {
        while (this.#come.length) {
          const message = this.#come.shift()
          if (wanted(message)) return message
        }
        if (this.#end) throw this.#end
        await new Promise((resolve) => this.#waiting.push(resolve))
      }
    }
    return within(find(), what, ms)
  }
}

export class User {
  /** @param isDevelopment `user=NAME` in place of a token. */
  constructor(name, port, isDevelopment) {
    this.name = name
    this.port = port
    this.origin = `http://127.0.0.1:${port}`
    this.token = tokenOf(name)
    this.isDevelopment = isDevelopment
  }

  #path(endpoint, query) {
    const all = new URLSearchParams({ ...query, ...(this.isDevelopment && { user: this.name }) })
    return `/v1/${endpoint}?${all}`
  }

  /**
   * As a page sends them to its own origin: a browser names that origin to a WebSocket and in a
   * POST only.
   */
  #headers(namesOrigin, more = {}) {
    const cookie = this.isDevelopment ? {} : { cookie: `throughline_token=${this.token}` }
    return { 'sec-fetch-mode': 'cors', ...(namesOrigin && { origin: this.origin }), ...cookie, ...more }
  }

  #request(method, endpoint, query, headers) {
    const path = this.#path(endpoint, query)
    // No agent: each connection is one that can be abandoned.
    const all = this.#headers(method === 'POST', headers)
    return request({ host: '127.0.0.1', port: this.port, method, path, headers: all, agent: false })
  }

  /** @returns status and body. */
  answer(method, endpoint, query = {}, body = undefined) {
    const type = body === undefined ? {} : { 'content-type': 'application/json' }
    const asked = this.#request(method, endpoint, query, type)
    const answered = new Promise((resolve, reject) => {
      asked.on('error', reject)
      asked.on('response', async (response) => {
        let text = ''
        try {
          for await (const chunk of response.setEncoding('utf8')) text += chunk
          resolve({ status: response.statusCode, text })
        } catch (error) {
          reject(error)
        }
      })
    })
    asked.end(body === undefined ? undefined : JSON.stringify(body))
    return { answered: within(answered, `${method} /v1/${endpoint}`), abandon: () => asked.destroy() }
  }

  /** Commands from a page on SSE or polls. */
  async send(session, command) {
    const { answered } = this.answer('POST', 'send', session ? { session } : {}, { id: 1, ...command })
    const { status, text } = await answered
    if (status !== 200) throw new Error(`a command is answered ${status}: ${text.slice(0, 200)}`)
    const reply = JSON.parse(text)
    if (reply.error) throw new Error(`a command is refused: ${text}`)
  }

  /** @returns messages, and how to abandon the connection. */
  sse(query = {}) {
    const messages = new Messages()
    const asked = this.#request('GET', 'sse', query, { accept: 'text/event-stream' })
    asked.on('error', (error) => messages.end(error))
    asked.on('response', (response) => {
      if (response.statusCode !== 200) messages.end(new Error(`SSE is answered ${response.statusCode}`))
      let text = ''
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk
        for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
          const lines = text.slice(0, end).split('\n')
          text = text.slice(end + 2)
          const data = lines.filter((line) => line.startsWith('data:')).map((line) => line.slice(5))
          if (data.length) messages.push(JSON.parse(data.join('\n')))
        }
      })
      response.on('error', (error) => messages.end(error))
      response.on('close', () => messages.end(new Error('SSE ended')))
    })
    asked.end()
    return { messages, abandon: () => asked.destroy() }
  }

  /**
   * @param carrier `cookie` (`user=` in development), or `subprotocol` for the token as the client
   * sends it.
   */
  ws(query = {}, carrier = 'cookie') {
    const messages = new Messages()
    const protocols = ['throughline.v1', ...(carrier === 'subprotocol' ? [`bearer.${this.token}`] : [])]
    const headers = carrier === 'subprotocol' ? { origin: this.origin } : this.#headers(true)
    const socket = new WebSocket(`ws://127.0.0.1:${this.port}${this.#path('ws', query)}`, protocols, { headers })
    socket.on('message', (text) => messages.push(JSON.parse(text)))
    socket.on('unexpected-response', (_, response) => {
      messages.end(new Error(`the handshake is answered ${response.statusCode}`))
      socket.terminate()
    })
    socket.on('error', (error) => messages.end(error))
    socket.on('close', (code, reason) => messages.end(new Error(`WebSocket closed with ${code} ${reason}`)))
    return { messages, command: (command) => socket.send(JSON.stringify(command)), abandon: () => socket.terminate() }
  }
}
