// The real gateway on a free loopback port, and a publisher that gives every event a number of its
// own.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../../target', import.meta.url))
const BINARY = process.env.GATEWAY_BIN ?? `${TARGET}/debug/gateway`
/** Ends a program with this process, however it ends. */
export const BOUND = fileURLToPath(new URL('../../../.ci/bound', import.meta.url))
/** Generous, because a busy machine is no failure. */
const START_MS = 120_000
const RETRY_MS = 50

export class Gateway {
  /** The publish key. */
  key = 'dev'

  /**
   * Starts a gateway; an address to listen on makes a restart in the same place.
   * @param options `dev` or `serve`, and its options.
   */
  static async start(listen = '127.0.0.1:0', options = ['dev']) {
    if (!existsSync(BINARY)) throw new Error(`no gateway at ${BINARY}: \`cargo build -p gateway\` or set GATEWAY_BIN`)
    const gateway = new Gateway()
    await gateway.spawn(listen, options)
    return gateway
  }

  async spawn(listen, options = this.options) {
    this.options = options
    const command = [BINARY, ...options, '--listen', listen, '--log', 'error']
    const child = spawn(BOUND, command, { stdio: ['ignore', 'pipe', 'ignore'] })
    this.child = child
    this.port = await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`the gateway was not ready within ${START_MS} ms`)), START_MS)
      child.once('error', reject)
      child.once('exit', (code) => reject(new Error(`the gateway ended with ${code}`)))
      createInterface({ input: child.stdout }).on('line', (line) => {
        const port = /^listening on http:\/\/\S+:(\d+)$/.exec(line)?.[1]
        if (!port) return
        clearTimeout(late)
        resolve(Number(port))
      })
    })
  }

  async stop(signal = 'SIGKILL') {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const ended = new Promise((resolve) => this.child.once('exit', resolve))
    this.child.kill(signal)
    await ended
  }

  async restart() {
    await this.stop()
    await this.spawn(`127.0.0.1:${this.port}`)
  }

  async publish(topic, data) {
    const response = await fetch(`http://127.0.0.1:${this.port}/v1/publish`, {
      method: 'POST',
      headers: { authorization: `Bearer ${this.key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ topic, type: 'tick', data }),
    })
    if (!response.ok) throw new Error(`publish answered ${response.status}: ${await response.text()}`)
    return response.json()
  }
}

/** Publishes 1, 2, 3 … every `everyMs` until stopped, past the path that is measured. */
export class Publisher {
  /** Number to when it was accepted, milliseconds since 1970. */
  accepted = new Map()
  /**
   * The longest that the gateway took to accept one, milliseconds: what the machine did for others
   * meanwhile.
   */
  slowest = 0
  #running = true
  #paused = false

  constructor(gateway, topic, everyMs) {
    this.everyMs = everyMs
    this.done = this.#run(gateway, topic)
  }

  async #run(gateway, topic) {
    for (let n = 1; this.#running; n += 1) {
      while (this.#paused) await sleep(RETRY_MS)
      const at = Date.now()
      // A gateway that is down refuses the connection: the event waits for the next one.
      await gateway.publish(topic, { n, at }).then(
        () => {
          this.accepted.set(n, at)
          this.slowest = Math.max(this.slowest, Date.now() - at)
        },
        () => sleep(RETRY_MS),
      )
      await sleep(Math.max(0, at + this.everyMs - Date.now()))
    }
  }

  pause() {
    this.#paused = true
  }

  resume() {
    this.#paused = false
  }

  stop() {
    this.#running = false
    return this.done
  }
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
