import type { Env } from '../core/env.js'
import type { Batch, Bye, Hello, Refusal, Reply, ThroughlineEvent, Transport } from '../core/protocol.js'
import { FakeClock, seededRandom } from './clock.js'
import { type FakeCommand, FakeRules } from './commands.js'
import { FakeLog } from './log.js'
import { FakePage, FakeStorage } from './page.js'
import { FakeSocket, jsonResponse, type Pipe, streamResponse } from './wire.js'

/** What the path does to a transport. */
export type Path =
  | 'open'
  /** Refused at once. */
  | 'refused'
  /** Never answered. */
  | 'unanswered'
  /** Opens, then nothing comes through. */
  | 'silent'
  /** Every message is held until the next one comes. */
  | 'one-behind'
  /** Bytes of an event stream are let go in blocks of 4 KiB. */
  | 'blocks'
  /** Nothing of an event stream comes through, its head included, unless it begins with padding. */
  | 'unpadded'
  /** Cut this many milliseconds after it opened. */
  | number

interface Stream {
  readonly transport: Transport
  readonly session: string
  readonly pipe: Pipe
  readonly topics: Set<string>
  readonly timers: unknown[]
  readonly heartbeatMs: number
  position: number
  cursor: string
  frozen: boolean
  held: string
}

const SECOND_BATCH_MS = 300
const BURST_MS = 250
const BLOCK_BYTES = 4096

/**
 * A gateway in memory for tests: one log, three transports, a fake clock, and a path that may
 * misbehave. `env` goes into `createClient({ env: server.env })`.
 */
export class FakeServer {
  readonly clock: FakeClock
  readonly log = new FakeLog()
  /** What its clients may do, and who is present. */
  readonly rules: FakeRules
  readonly page = new FakePage()
  readonly storage = new FakeStorage()
  readonly env: Partial<Env>
  readonly path: Record<Transport, Path> = { ws: 'open', sse: 'open', poll: 'open' }
  /** Milliseconds one way. */
  latencyMs = 5
  deployment = 'd1'
  /** Turns everyone away with 429, `Retry-After: 2`. */
  busy = false
  /** Turns everyone away with 403. */
  forbids = false
  /** Refuses other tokens with 401, when set. */
  token: string | null = null
  /** Every request that arrived. */
  readonly requests: { transport: Transport | 'other'; url: URL; at: number }[] = []
  /** Commands that arrived. */
  readonly commands: Record<string, unknown>[] = []
  /**
   * Refuses a WebSocket handshake by its status, which the client cannot read, as for clients
   * without `Origin`.
   */
  refusesByStatus = false
  /** A proxy keeps the second subprotocol, and with it the token, to itself. */
  dropsBearer = false
  /** Sessions that were said to be left, in that order. */
  readonly left: string[] = []
  /** Who the holder of a token is, or of none. */
  userOf: (token: string | null) => string = () => 'test'
  /**
   * Tokens that were offered, in the order of their coming; with requests that had none left out.
   */
  readonly offered: string[] = []
  /** Which topics keep their state. */
  keepsState: (topic: string) => boolean = () => false
  /** Commands in band are taken and get no reply. */
  deaf = false
  /** May replace each message to the client: repeat it, spoil it, leave it out. */
  tamper: (text: string, transport: Transport) => string[] = (text) => [text]
  private readonly streams = new Set<Stream>()
  private readonly sockets: FakeSocket[] = []
  private readonly fetches = new Set<AbortSignal | null | undefined>()
  private readonly published = new Map<string, object>()
  private freezes = 0
  private sessions = 0
  private readonly polls = new Set<ReadonlySet<string>>()

  constructor(options: { seed?: number; clock?: FakeClock } = {}) {
    this.clock = options.clock ?? new FakeClock()
    this.rules = new FakeRules(this.clock.now)
    const server = this
    this.env = {
      now: this.clock.now,
      setTimeout: this.clock.setTimeout,
      clearTimeout: this.clock.clearTimeout,
      random: seededRandom(options.seed ?? 1),
      storage: this.storage,
      page: this.page,
      locks: undefined,
      multiplexes: () => false,
      channel: undefined,
      origin: 'http://gateway.test',
      fetch: (url, init) => server.fetch(url, init),
      WebSocket: class extends FakeSocket {
        constructor(url: string, protocols: string[]) {
          super(url, protocols)
          server.socket(this)
        }
      },
    }
  }

  /** Appends an event of one topic or of several, and tells every session that has one of them. */
  publish(
    topic: string | readonly string[],
    type: string,
    data: unknown = null,
    id?: string,
    key?: string,
  ): ThroughlineEvent {
    const event = this.log.append(topic, type, data, new Date(this.clock.now()).toISOString(), id, key)
    for (const stream of [...this.streams]) this.flush(stream)
    return event
  }

  /** How many streams and waiting polls there are. */
  get open(): Record<Transport, number> {
    const count = { ws: 0, sse: 0, poll: this.polls.size }
    for (const stream of this.streams) count[stream.transport] += 1
    return count
  }

  /** The topics of each open stream and of each poll that waits. */
  get subscriptions(): string[][] {
    return [...[...this.streams].map(({ topics }) => topics), ...this.polls].map((topics) => [...topics])
  }

  /** How many sockets, streams and polls the client holds, whatever has come of them. */
  get links(): number {
    return this.fetches.size + this.sockets.filter(({ readyState }) => readyState < 2).length
  }

  /** Ends streams as a cut does. */
  cut(transport?: Transport, code?: number): void {
    for (const stream of [...this.streams]) {
      if (transport && stream.transport !== transport) continue
      this.drop(stream)
      stream.pipe.close(code)
    }
  }

  /**
   * From now on the streams that are open and the polls that wait carry nothing, and nobody is
   * told.
   */
  freeze(): void {
    this.freezes += 1
    for (const stream of this.streams) stream.frozen = true
  }

  /** Takes a topic away from every stream, as a grant that shrinks does. */
  withdraw(topic: string): void {
    for (const { topics } of this.streams) topics.delete(topic)
  }

  /** Announces the end of every stream. */
  bye(reason: Bye['reason'], reconnectAfterMs = 0): void {
    for (const stream of this.streams) {
      this.write(stream, { events: [], bye: { reason, reconnect_after_ms: reconnectAfterMs } })
    }
  }

  /** Sends every stream a batch with these members. */
  say(batch: Omit<Batch, 'after' | 'cursor'>): void {
    for (const stream of this.streams) this.write(stream, batch)
  }

  private socket(socket: FakeSocket): void {
    const url = new URL(socket.url)
    this.requests.push({ transport: 'ws', url, at: this.clock.now() })
    this.sockets.push(socket)
    const path = this.busy ? 'refused' : this.path.ws
    const bearer = socket.protocols.find((protocol) => protocol.startsWith('bearer.'))?.slice(7)
    const offered = this.dropsBearer ? undefined : bearer
    this.clock.setTimeout(() => {
      if (path === 'unanswered' || socket.readyState !== 0) return
      if (path === 'refused') return socket.pipe.close()
      if (offered) this.offered.push(offered)
      const welcome = !this.token || offered === this.token
      if (!welcome && this.refusesByStatus) return socket.pipe.close()
      socket.accept()
      if (!welcome && offered) return socket.pipe.close(4401)
      if (path === 'silent') return
      if (welcome) this.greet(socket, url, offered)
      else this.challenge(socket, url)
    }, 2 * this.latencyMs)
  }

  private greet(socket: FakeSocket, url: URL, token: string | undefined): void {
    const stream = this.stream('ws', url, socket.pipe, token)
    socket.onsend = (text) => this.command(stream, text)
    socket.onleave = () => this.drop(stream)
  }

  /** Waits for `auth`, as PROTOCOL.md A3 says. */
  private challenge(socket: FakeSocket, url: URL): void {
    const late = this.clock.setTimeout(() => socket.pipe.close(4401), 5000)
    socket.onsend = (text) => {
      const { id, op, token } = JSON.parse(text) as FakeCommand
      const welcome = op === 'auth' && token === this.token
      const error = { code: 'unauthenticated', message: 'no valid token' }
      socket.pipe.send(JSON.stringify({ reply: id, ...(welcome ? { ok: {} } : { error }) }))
      if (!welcome) return
      this.clock.clearTimeout(late)
      this.greet(socket, url, token)
    }
  }

  private async fetch(address: string, init: RequestInit): Promise<Response> {
    const { signal } = init
    const ended = (): void => void this.fetches.delete(signal)
    this.fetches.add(signal)
    signal?.addEventListener('abort', ended)
    try {
      const response = await this.answer(address, init)
      if (!response.body) ended()
      return response
    } catch (error) {
      ended()
      throw error
    }
  }

  private async answer(address: string, init: RequestInit): Promise<Response> {
    const url = new URL(address)
    const transport = url.pathname.endsWith('/sse') ? 'sse' : url.pathname.endsWith('/poll') ? 'poll' : 'other'
    this.requests.push({ transport, url, at: this.clock.now() })
    const path = transport === 'other' ? this.path.poll : this.path[transport]
    await this.wait(2 * this.latencyMs, init.signal)
    if (this.busy) return jsonResponse(429, { code: 'rate_limited' }, { 'retry-after': '2' })
    if (this.forbids) return jsonResponse(403, { code: 'forbidden' })
    if (path === 'refused') throw new TypeError('fetch failed')
    const unpadded = path === 'unpadded' && transport === 'sse' && !url.searchParams.has('pad')
    if (path === 'unanswered' || unpadded || (path === 'silent' && transport === 'poll'))
      await this.wait(1e9, init.signal)
    const token = new Headers(init.headers).get('authorization')?.slice(7)
    if (token) this.offered.push(token)
    if (this.token && token !== this.token) return jsonResponse(401, { code: 'unauthenticated' })
    if (transport === 'sse') return this.sse(url, init.signal, path, token)
    if (transport === 'poll') return this.poll(url, init.signal, token)
    if (url.pathname.endsWith('/leave') && init.method === 'POST') return this.leave(url)
    if (url.pathname.endsWith('/send')) {
      return jsonResponse(200, this.reply(JSON.parse(String(init.body)) as FakeCommand, new Set()))
    }
    if (url.pathname.endsWith('/history')) return this.history(url)
    if (url.pathname.endsWith('/state')) return this.state(url)
    return jsonResponse(404, { code: 'not_found' })
  }

  private sse(url: URL, signal: AbortSignal | null | undefined, path: Path, token?: string): Response {
    const { response, pipe } = streamResponse(signal, () => this.fetches.delete(signal))
    if (path === 'silent') return response
    const stream = this.stream('sse', url, pipe, token)
    signal?.addEventListener('abort', () => this.drop(stream))
    return response
  }

  private async poll(url: URL, signal: AbortSignal | null | undefined, token?: string): Promise<Response> {
    const user = this.userOf(token ?? null)
    const admitted = this.rules.admit(user, askedFor(url))
    this.polls.add(admitted.topics)
    try {
      return await this.pollAs(user, admitted, url, signal)
    } finally {
      this.polls.delete(admitted.topics)
    }
  }

  private async pollAs(
    user: string,
    { topics, refused }: ReturnType<FakeRules['admit']>,
    url: URL,
    signal: AbortSignal | null | undefined,
  ): Promise<Response> {
    const after = url.searchParams.get('after')
    const arrived = this.log.tail
    const { freezes } = this
    const until = this.clock.now() + Number(url.searchParams.get('wait') ?? 25) * 1000
    const cutAt = typeof this.path.poll === 'number' ? this.clock.now() + this.path.poll : Number.POSITIVE_INFINITY
    for (;;) {
      if (freezes !== this.freezes) await this.wait(1e9, signal)
      const { from, reset } = this.log.resume(after ?? arrived, [...topics])
      const events = this.log.between(from, this.log.seq, topics)
      if (events.length > 0 || reset || after === null || this.clock.now() >= until) {
        const hello = after === null ? this.hello(url, user, 'poll', 0, topics, refused) : undefined
        const kept = after?.includes('.') && (!reset || reset.reason === 'expired')
        const start = kept ? after : `${this.log.epoch}.${from}`
        const told = !hello && refused.length ? { refused } : undefined
        const batch = { after: start, cursor: this.log.tail, events, hello, reset, ...told }
        const texts = this.tamper(JSON.stringify(batch), 'poll')
        return jsonResponse(200, JSON.parse(texts[0] ?? '{}') as unknown)
      }
      if (this.clock.now() >= cutAt) throw new TypeError('cut')
      await this.wait(50, signal)
    }
  }

  private stream(transport: Transport, url: URL, pipe: Pipe, token?: string): Stream {
    const user = this.userOf(token ?? null)
    const { topics, refused } = this.rules.admit(user, askedFor(url))
    const after = url.searchParams.get('after')
    const { from, reset } = this.log.resume(after, [...topics])
    const heartbeatMs = Number(url.searchParams.get('heartbeat') ?? 15) * 1000
    const expired = reset?.reason === 'expired' && after !== null
    const cursor = expired ? after : `${this.log.epoch}.${from}`
    const hello = this.hello(url, user, transport, heartbeatMs, topics, refused)
    const stream: Stream = {
      transport,
      session: hello.session,
      pipe,
      topics,
      timers: [],
      heartbeatMs,
      position: from,
      cursor,
      frozen: false,
      held: '',
    }
    this.streams.add(stream)
    this.write(stream, { events: [], hello, reset }, cursor)
    this.flush(stream)
    this.later(stream, SECOND_BATCH_MS, () => this.beat(stream))
    const life = this.path[transport]
    if (typeof life === 'number') {
      this.later(stream, life, () => {
        this.drop(stream)
        pipe.close()
      })
    }
    return stream
  }

  private leave(url: URL): Response {
    const session = url.searchParams.get('session') ?? ''
    this.left.push(session)
    for (const stream of [...this.streams]) if (stream.session === session) this.drop(stream)
    return jsonResponse(204, null)
  }

  private beat(stream: Stream): void {
    this.write(stream, { events: [] })
    this.later(stream, stream.heartbeatMs, () => this.beat(stream))
  }

  private flush(stream: Stream): void {
    const events = this.log.between(stream.position, this.log.seq, stream.topics)
    if (events.length === 0) return
    this.write(stream, { events })
    // What ends a burst (PROTOCOL.md, T12).
    const last = stream.cursor
    this.later(stream, BURST_MS, () => {
      if (stream.cursor === last) this.write(stream, { events: [] })
    })
  }

  private write(stream: Stream, batch: Omit<Batch, 'after' | 'cursor'>, cursor = this.log.tail): void {
    const text = JSON.stringify({ after: stream.cursor, cursor, ...batch })
    stream.cursor = cursor
    if (cursor === this.log.tail && !batch.hello) stream.position = this.log.seq
    for (const sent of this.tamper(text, stream.transport)) this.transmit(stream, sent)
  }

  private transmit(stream: Stream, text: string): void {
    const { transport } = stream
    const path = this.path[transport]
    const framed = transport === 'sse' ? `data: ${text}\n\n` : text
    let due = [stream.held, framed]
    stream.held = ''
    if (path === 'one-behind') stream.held = due.pop() as string
    else if (path === 'blocks' && transport === 'sse') {
      const bytes = due.join('')
      const whole = bytes.length - (bytes.length % BLOCK_BYTES)
      due = [bytes.slice(0, whole)]
      stream.held = bytes.slice(whole)
    }
    this.clock.setTimeout(() => {
      if (stream.frozen || !this.streams.has(stream)) return
      for (const piece of due) if (piece) stream.pipe.send(piece)
    }, this.latencyMs)
  }

  private command(stream: Stream, text: string): void {
    if (stream.frozen) return
    const command = JSON.parse(text) as FakeCommand
    const reply = this.reply(command, stream.topics)
    if (!this.deaf) this.transmit(stream, JSON.stringify(reply))
  }

  /** Carries out a command of a session with these topics. Ephemeral events go nowhere. */
  private reply(command: FakeCommand, topics: Set<string>): Reply {
    this.commands.push({ ...command })
    const { id, op, topic = '', type = '', data, expect, event_id } = command
    if (this.deaf) return { reply: id }
    const outcome = this.rules.execute(command, topics)
    if (op !== 'publish' || command.ephemeral || 'error' in outcome) return { reply: id, ...outcome }
    const known = event_id === undefined ? undefined : this.published.get(event_id)
    if (known) return { reply: id, ok: { ...known, duplicate: true } }
    const last = this.log.last(topic)
    if (expect !== undefined && expect !== last)
      return { reply: id, error: { code: 'conflict', message: 'the topic has moved on', seq: last } }
    const { seq } = this.publish(topic, type, data, event_id)
    const ok = { cursor: this.log.tail, seq }
    if (event_id !== undefined) this.published.set(event_id, ok)
    return { reply: id, ok }
  }

  private history(url: URL): Response {
    const topic = url.searchParams.get('topic') ?? ''
    const after = url.searchParams.get('after') ?? 'earliest'
    const { from, reset } = this.log.resume(after, [topic])
    return jsonResponse(200, { after, cursor: this.log.tail, events: this.log.retained(topic, from), reset })
  }

  /** In parts of two keys. */
  private state(url: URL): Response {
    const topic = url.searchParams.get('topic') ?? ''
    if (!this.keepsState(topic)) return jsonResponse(404, { code: 'not_found', detail: 'see --state' })
    const [epoch, point, after] = url.searchParams.get('next')?.split('.') ?? [...this.log.tail.split('.'), '0']
    const isIn = ({ seq = 0 }: ThroughlineEvent): boolean => seq > Number(after) && seq <= Number(point)
    const left = [...(this.log.states.get(topic)?.values() ?? [])].filter(isIn)
    const events = left.slice(0, 2)
    const cursor = `${epoch}.${point}`
    const next = left.length > 2 ? `${cursor}.${events[1]?.seq}` : undefined
    return jsonResponse(200, { topic, cursor, next, events })
  }

  private hello(
    url: URL,
    user: string,
    transport: Transport,
    heartbeat_ms: number,
    topics: ReadonlySet<string>,
    refused: readonly Refusal[],
  ): Hello {
    this.sessions += 1
    const { deployment } = this
    const hello = {
      session: url.searchParams.get('session') ?? `s${this.sessions}`,
      user,
      transport,
      heartbeat_ms,
      topics: [...topics],
      deployment,
    }
    return refused.length ? { ...hello, refused } : hello
  }

  private drop(stream: Stream): void {
    this.streams.delete(stream)
    for (const timer of stream.timers) this.clock.clearTimeout(timer)
  }

  private later(stream: Stream, ms: number, run: () => void): void {
    stream.timers.push(this.clock.setTimeout(run, ms))
  }

  private wait(ms: number, signal: AbortSignal | null | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(new Error('aborted'))
      const aborted = (): void => {
        this.clock.clearTimeout(timer)
        reject(new Error('aborted'))
      }
      const timer = this.clock.setTimeout(() => {
        signal?.removeEventListener('abort', aborted)
        resolve()
      }, ms)
      signal?.addEventListener('abort', aborted)
    })
  }
}

const askedFor = (url: URL): string[] => url.searchParams.get('topics')?.split(',').filter(Boolean) ?? []
