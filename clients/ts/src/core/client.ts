import { type Command, unavailable } from './commands.js'
import { Connection } from './connection.js'
import { Emitter, report } from './emitter.js'
import { runtimeEnv } from './env.js'
import type { Phase } from './ladder-types.js'
import type { ClientError, ClientOptions } from './options.js'
import type { EventMap, Hello, Reset, ThroughlineEvent, Transport } from './protocol.js'
import type { Delivery } from './session.js'
import { iterate } from './stream.js'
import { type PresenceStatus, Topic } from './topic.js'

/** One immutable view of the client. Two views are the same object as long as nothing changed. */
export interface ClientState {
  readonly phase: Phase
  /** The transport that delivers; null while none is proven. */
  readonly transport: Transport | null
  /** Events are pushed as they happen. */
  readonly isRealtime: boolean
  /** Fruitless rounds since it last worked. */
  readonly retryCount: number
  /** Milliseconds since 1970; null: no attempt is planned. */
  readonly nextRetryAt: number | null
  /** Round trip of the latest ping; null where the transport has none. */
  readonly latencyMs: number | null
  /** Everything up to here was delivered; may be given as `after`. */
  readonly cursor: string | null
  readonly error: ClientError | null
}

/** A resumable session with a gateway. */
export class Client<M extends EventMap = EventMap> {
  private readonly emitter = new Emitter<ThroughlineEvent>()
  private readonly resets = new Emitter<Reset>()
  private readonly changes = new Emitter<undefined>()
  private readonly connection: Connection
  private readonly wanted = new Map<string, number>()
  private readonly present = new Map<string, { status: PresenceStatus; info?: unknown }>()
  private holders = 0
  private releaseTimer: unknown
  private snapshot: ClientState | null = null
  private syncing = false

  constructor(private readonly options: ClientOptions = {}) {
    for (const topic of options.topics ?? []) this.wanted.set(topic, 1)
    this.connection = new Connection(options, runtimeEnv(options.env), () => new Set(this.wanted.keys()), {
      deliver: (delivery) => this.deliver(delivery),
      changed: () => this.changed(),
      hello: () => this.announceAll(),
    })
  }

  get state(): ClientState {
    const { session } = this.connection
    if (this.snapshot?.cursor !== session.cursor) this.snapshot = null
    this.snapshot ??= this.view()
    return this.snapshot
  }

  /** What the gateway said about this session; null before the first connection. */
  get hello(): Hello | null {
    return this.connection.hello
  }

  /** Hears that `state` is another object. Does not connect. */
  readonly subscribe = (listener: () => void): (() => void) => this.changes.on('', listener)

  /** Connects, also after `close` and after a fatal refusal. */
  connect(): void {
    this.connection.start()
  }

  /** Ends the session. Topics and listeners stay for a later `connect`. */
  close(): void {
    this.connection.stop()
  }

  /** Keeps the client connected until the returned function is called; the last release closes it a moment later. */
  acquire(): () => void {
    this.holders += 1
    this.connection.env.clearTimeout(this.releaseTimer)
    this.interest()
    let held = true
    return () => {
      if (!held) return
      held = false
      this.holders -= 1
      if (this.holders > 0) return
      this.releaseTimer = this.connection.env.setTimeout(() => this.close(), this.connection.timing.release)
    }
  }

  /** Resolves when events are being delivered; rejects when the client stops for good. */
  ready(): Promise<void> {
    this.interest()
    return new Promise((resolve, reject) => {
      const off = this.subscribe(() => check())
      const check = (): void => {
        const { transport, phase, error } = this.state
        if (transport === null && phase !== 'closed') return
        off()
        if (transport !== null) resolve()
        else reject(unavailable(error?.message ?? 'closed'))
      }
      check()
    })
  }

  /** Hears events of one type. @returns stops listening. */
  on<T extends keyof M & string>(type: T, listener: (event: ThroughlineEvent<M[T], T>) => void): () => void {
    this.interest()
    return this.emitter.on(`type ${type}`, listener as (event: ThroughlineEvent) => void)
  }

  /** Hears every event. */
  onAny(listener: (event: ThroughlineEvent) => void): () => void {
    this.interest()
    return this.emitter.on('', listener)
  }

  /** Hears when events may be missing: wait `refetch_after_ms`, then fetch the state of the named topics anew. */
  onReset(listener: (reset: Reset) => void): () => void {
    return this.resets.on('', listener)
  }

  /** Every event from now on, for `for await`. A reader more than 1,000 events behind gets an exception. */
  events(): AsyncIterableIterator<ThroughlineEvent> {
    return iterate((listener) => this.onAny(listener))
  }

  topic(name: string): Topic<M> {
    const { connection } = this
    return new Topic<M>(
      {
        send: (command) => this.send(command),
        http: (path, params) => connection.http(path, params),
        want: (topic) => this.want(topic),
        hear: (key, listener) => this.emitter.on(key, listener),
        onReset: (listener) => this.onReset(listener),
        announce: (topic, status, info) => this.announce(topic, status, info),
      },
      name,
    )
  }

  /** The topic `room:ID`. */
  room(id: string): Topic<M> {
    return this.topic(`room:${id}`)
  }

  /** Sends a command (PROTOCOL.md section 4) and waits for its reply. @throws CommandError */
  async send(command: Command): Promise<unknown> {
    await this.ready()
    return this.connection.command(command)
  }

  /** Uses nothing above this transport; null: whatever works best. */
  prefer(transport: Transport | null): void {
    const { connection } = this
    connection.dispatch(() => connection.ladder.prefer(transport))
  }

  private interest(): void {
    const { phase, lastClose } = this.connection.ladder
    const again = this.holders > 0 && phase === 'closed' && !lastClose
    if (again || (phase === 'idle' && this.options.autoConnect !== false)) this.connect()
  }

  private want(topic: string): () => void {
    this.interest()
    const count = this.wanted.get(topic) ?? 0
    this.wanted.set(topic, count + 1)
    if (count === 0) this.syncTopics()
    return () => {
      const left = (this.wanted.get(topic) ?? 1) - 1
      if (left > 0) this.wanted.set(topic, left)
      else if (this.wanted.delete(topic)) this.syncTopics()
    }
  }

  /** Several changes in one turn make one request. */
  private syncTopics(): void {
    if (this.syncing) return
    this.syncing = true
    queueMicrotask(() => {
      this.syncing = false
      this.connection.syncTopics()
    })
  }

  private announce(topic: string, status: PresenceStatus, info?: unknown): Promise<unknown> {
    if (status === 'offline') this.present.delete(topic)
    else this.present.set(topic, { status, info })
    return this.send({ op: 'presence', topic, status, info })
  }

  /** A new session knows nothing of where this user said to be. */
  private announceAll(): void {
    for (const [topic, presence] of this.present) {
      this.send({ op: 'presence', topic, ...presence }).catch(() => {}) // Said again with the next hello.
    }
  }

  private deliver(event: Delivery): void {
    if ('reset' in event) return this.resets.emit('', event.reset)
    let heard = event
    if (this.options.decode) {
      try {
        heard = { ...event, data: this.options.decode(event) }
      } catch (error) {
        return report(error)
      }
    }
    this.emitter.emit(`type ${heard.type}`, heard)
    this.emitter.emit(`topic ${heard.topic}`, heard)
    this.emitter.emit('', heard)
  }

  private changed(): void {
    this.snapshot = null
    this.changes.emit('', undefined)
  }

  private view(): ClientState {
    const { ladder, transport, latencyMs, error, session } = this.connection
    return Object.freeze({
      phase: ladder.phase,
      transport,
      isRealtime: transport === 'ws' || transport === 'sse',
      retryCount: transport ? 0 : ladder.retryCount,
      nextRetryAt: ladder.retryAt || null,
      latencyMs: transport === 'ws' ? latencyMs : null,
      cursor: session.cursor,
      error,
    })
  }
}

/** Makes a client. It connects on first use, unless `autoConnect` is false. */
export function createClient<M extends EventMap = EventMap>(options: ClientOptions = {}): Client<M> {
  return new Client<M>(options)
}
