import { type ChildProcess, spawn } from 'node:child_process'
import { createServer, type Server, type Socket, connect as tcp } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type Client, type ClientOptions, createClient, type Env, type Reset } from '@throughline/client'
import { WebSocket } from 'ws'

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const BINARY = process.env.GATEWAY_BIN ?? at('../../../../target/debug/gateway')
/** Ends the gateway with this process, whether its tests hold, fail or are killed. */
const BOUND = at('../../../../.ci/bound')
export const SECOND = 1000
/** Generous, because a busy machine is no failure; a test that holds never waits this long. */
const PATIENCE_MS = 120 * SECOND
const STEP_MS = 10

/** A real `gateway dev` on a free port. */
export class Gateway {
  private constructor(
    private readonly process: ChildProcess,
    readonly url: string,
  ) {}

  static async start(options: string[] = [], listen = '127.0.0.1:0'): Promise<Gateway> {
    const command = [BINARY, 'dev', '--listen', listen, ...options]
    const child = spawn(BOUND, command, { stdio: ['ignore', 'pipe', 'ignore'] })
    const ready = new Promise<string>((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', (code) => reject(new Error(`the gateway ended with ${code}`)))
      createInterface({ input: child.stdout }).on('line', (line) => {
        const url = /listening on (http:\S+)/.exec(line)?.[1]
        if (url) resolve(url)
      })
    })
    return new Gateway(child, await ready)
  }

  get pid(): number {
    return this.process.pid as number
  }

  async publish(topic: string, type: string, data: unknown = null, more: object = {}): Promise<number> {
    const response = await fetch(new URL('/v1/publish', this.url), {
      method: 'POST',
      headers: { authorization: 'Bearer dev', 'content-type': 'application/json' },
      body: JSON.stringify({ topic, type, data, ...more }),
    })
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
    return ((await response.json()) as { seq: number }).seq
  }

  /** Ends a user's sessions. @returns how many. */
  async disconnect(user: string): Promise<number> {
    const response = await fetch(new URL('/v1/disconnect', this.url), {
      method: 'POST',
      headers: { authorization: 'Bearer dev', 'content-type': 'application/json' },
      body: JSON.stringify({ user }),
    })
    return ((await response.json()) as { sessions: number }).sessions
  }

  stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    return new Promise((resolve) => {
      if (this.process.exitCode !== null) return resolve()
      this.process.once('exit', () => resolve())
      this.process.kill(signal)
    })
  }
}

/** A TCP path to the gateway that can be cut, frozen, and closed to upgrades or event streams. */
export class Path {
  readonly refuse = new Set<'ws' | 'sse' | 'poll'>()
  private readonly pairs = new Set<[Socket, Socket]>()
  private server: Server | null = null
  url = ''

  constructor(private readonly target: string) {}

  async open(): Promise<this> {
    const { hostname, port } = new URL(this.target)
    this.server = createServer((client) => {
      const upstream = tcp(Number(port), hostname)
      const pair: [Socket, Socket] = [client, upstream]
      this.pairs.add(pair)
      client.on('data', (bytes) => {
        const transport = /^(?:GET|POST) \/v1\/(ws|sse|poll)/.exec(bytes.toString('latin1'))?.[1]
        if (transport && this.refuse.has(transport as 'ws')) {
          client.end('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
          upstream.destroy()
        } else upstream.write(bytes)
      })
      upstream.on('data', (bytes) => client.write(bytes))
      for (const socket of pair) {
        socket.on('error', () => {})
        socket.on('close', () => {
          this.pairs.delete(pair)
          for (const other of pair) other.destroy()
        })
      }
    })
    await new Promise<void>((resolve) => this.server?.listen(0, '127.0.0.1', resolve))
    this.url = `http://127.0.0.1:${(this.server.address() as { port: number }).port}`
    return this
  }

  /** Ends every connection, as an intermediary with a time limit does. */
  cut(): void {
    for (const pair of this.pairs) for (const socket of pair) socket.destroy()
  }

  /** Nothing passes on the connections of now, and nobody is told. */
  freeze(): void {
    for (const pair of this.pairs) for (const socket of pair) socket.pause()
  }

  close(): void {
    this.cut()
    this.server?.close()
  }
}

/** A client in Node, and everything that the application saw. */
export function connectTo(url: string, options: ClientOptions = {}) {
  const seqs: number[] = []
  const resets: Reset[] = []
  const env: Partial<Env> = { WebSocket: WebSocket as unknown as Env['WebSocket'], ...options.env }
  const client = createClient({ url, user: 'alice', ...options, env })
  client.onAny(({ seq }) => {
    if (seq !== undefined) seqs.push(seq)
  })
  client.onReset((reset) => resets.push(reset))
  return { client, seqs, resets }
}

/**
 * Waits until something holds, in steps of 10 ms: a machine that is busy with something else makes
 * steps longer, and not more of them.
 * @param ms how long it may take, in steps.
 * @returns the milliseconds of the steps that it took.
 */
export async function until(holds: () => boolean, what: string, ms = PATIENCE_MS): Promise<number> {
  let waited = 0
  for (; !holds(); waited += STEP_MS) {
    if (waited > ms) throw new Error(`not within ${ms} ms: ${what}`)
    await sleep(STEP_MS)
  }
  return waited
}

/** Waits until the gateway streams a topic to a client. */
export async function untilHeard({ client }: { client: Client }, topic: string): Promise<void> {
  let isHeard = false
  const off = client.topic(topic).on('knock', () => {
    isHeard = true
  })
  while (!isHeard) {
    await client.topic(topic).publish('knock', null)
    await until(() => isHeard, 'the knock', 500).catch(() => {})
  }
  off()
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
