import { type Command, refused, unavailable } from './commands.js'
import { createConnection } from './connection.js'
import { createEmitter, report } from './emitter.js'
import { runtimeEnv } from './env.js'
import type { Phase } from './ladder-types.js'
import type { ClientError, ClientOptions } from './options.js'
import type { EventMap, Hello, Reset, ThroughlineEvent, Transport } from './protocol.js'
import type { Delivery } from './session.js'
import { iterate } from './stream.js'
import type { Tabs } from './tabs.js'
import type { Member, PresenceStatus, Topic } from './topic.js'

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

/** A resumable session with a gateway. Its functions may be passed around on their own. */
export interface Client<M extends EventMap = EventMap> {
  readonly state: ClientState
  /** What the gateway said about this session; null before the first connection. */
  readonly hello: Hello | null
  /** Hears that `state` is another object. Does not connect. */
  subscribe(listener: () => void): () => void
  /** Connects, also after `close` and after a fatal refusal. */
  connect(): void
  /** Ends the session. Topics and listeners stay for a later `connect`. */
  close(): void
  /** Keeps the client connected until the returned function is called; the last release closes it a moment later. */
  acquire(): () => void
  /** Resolves when events are being delivered; rejects when the client stops for good. */
  ready(): Promise<void>
  /** Hears events of one type. @returns stops listening. */
  on<T extends keyof M & string>(type: T, listener: (event: ThroughlineEvent<M[T], T>) => void): () => void
  /** Hears every event. */
  onAny(listener: (event: ThroughlineEvent) => void): () => void
  /** Hears when events may be missing: wait `refetch_after_ms`, then fetch the state of the named topics anew. */
  onReset(listener: (reset: Reset) => void): () => void
  /** Every event from now on, for `for await`. A reader more than 1,000 events behind gets an exception. */
  events(): AsyncIterableIterator<ThroughlineEvent>
  topic(name: string): Topic<M>
  /** The topic `room:ID`. */
  room(id: string): Topic<M>
  /** Sends a command (PROTOCOL.md, C) and waits for its reply. @throws CommandError */
  send(command: Command): Promise<unknown>
  /** Uses nothing above this transport; null: whatever works best. */
  prefer(transport: Transport | null): void
}

/** Makes a client. It connects on first use, unless `autoConnect` is false. */
export function createClient<M extends EventMap = EventMap>(options: ClientOptions = {}): Client<M> {
  const env = runtimeEnv(options.env)
  const emitter = createEmitter()
  /** Topic to the number of those who want it. */
  const wanted = new Map((options.topics ?? []).map((topic) => [topic, 1]))
  const present = new Map<string, { status: PresenceStatus; info?: unknown }>()
  let holders = 0
  let releaseTimer: unknown
  let snapshot: ClientState | null = null
  let syncing = false
  let tabs: Tabs | null = null
  let joining = false

  const connection = createConnection(options, env, () => new Set(wanted.keys()), {
    drained(before, deliveries, cursor) {
      for (const delivery of deliveries) deliver(delivery)
      tabs?.relay(before, deliveries, cursor)
    },
    changed,
    // A new session knows nothing of where this user said to be.
    hello() {
      for (const [topic, presence] of present) {
        send({ op: 'presence', topic, ...presence }).catch(() => {}) // Said again with the next hello.
      }
    },
  })
  const { ladder, session, timing } = connection

  function deliver(event: Delivery): void {
    if ('reset' in event) return emitter.emit('reset', event.reset)
    let heard = event
    try {
      if (options.decode) heard = { ...event, data: options.decode(event) }
    } catch (error) {
      return report(error)
    }
    for (const name of [`type ${heard.type}`, `topic ${heard.topic}`, 'any']) emitter.emit(name, heard)
  }

  function view(): ClientState {
    if (snapshot?.cursor === session.cursor) return snapshot as ClientState
    const transport = connection.transport()
    snapshot = Object.freeze({
      phase: ladder.phase,
      transport,
      isRealtime: transport === 'ws' || transport === 'sse',
      retryCount: transport ? 0 : ladder.retryCount,
      nextRetryAt: ladder.retryAt || null,
      latencyMs: transport === 'ws' ? connection.latencyMs : null,
      error: connection.error,
      ...tabs?.led()?.state,
      cursor: session.cursor,
    })
    return snapshot
  }

  function changed(): void {
    snapshot = null
    emitter.emit('state', null)
  }

  function start(): void {
    if (options.share !== 'tabs' || !env.locks || !env.channel) return connection.start()
    if (tabs) return tabs.start()
    if (joining) return
    joining = true
    import('./tabs.js').then(({ joinTabs }) => {
      tabs = joinTabs({
        env,
        name: `throughline:${connection.base}:${options.user ?? ''}`,
        replyMs: timing.reply,
        connect: connection.start,
        disconnect: connection.stop,
        state: view,
        hello: () => connection.hello,
        topics: () => new Set(wanted.keys()),
        want,
        run: connection.command,
        cursor: () => session.cursor,
        accept(deliveries, cursor) {
          const topics = [...wanted.keys(), ...(tabs?.led()?.hello?.topics.slice(0, 2) ?? [])]
          session.skip(cursor)
          // The leader is told of topics that only other tabs want.
          for (const one of deliveries) if ('reset' in one || topics.includes(one.topic)) deliver(one)
        },
        refused,
        refresh: changed,
      })
      if (joining) tabs.start()
    }, connection.start)
  }

  function stop(): void {
    joining = false
    if (tabs) tabs.stop()
    else connection.stop()
  }

  /** First use connects; so does holding a client that was closed. */
  function interest(): void {
    const { phase, lastClose } = ladder
    const again = holders > 0 && phase === 'closed' && !lastClose
    if (again || (phase === 'idle' && options.autoConnect !== false)) start()
  }

  function listen(name: string, listener: (event: never) => void): () => void {
    interest()
    return emitter.on(name, listener)
  }

  const onAny = (listener: (event: ThroughlineEvent) => void): (() => void) => listen('any', listener)
  const onReset = (listener: (reset: Reset) => void): (() => void) => emitter.on('reset', listener)

  function want(topic: string): () => void {
    interest()
    const change = (by: number): void => {
      const count = (wanted.get(topic) ?? 0) + by
      if (count > 0) wanted.set(topic, count)
      else wanted.delete(topic)
      if (syncing) return
      syncing = true
      // Several changes in one turn make one request.
      queueMicrotask(() => {
        syncing = false
        connection.syncTopics()
      })
    }
    change(1)
    return () => change(-1)
  }

  function ready(): Promise<void> {
    interest()
    return new Promise((resolve, reject) => {
      const check = (): void => {
        const { phase, transport, error } = view()
        const closed = phase === 'closed'
        if (!closed && !transport) return
        off()
        if (closed) reject(unavailable(error?.message ?? 'closed'))
        else resolve()
      }
      const off = emitter.on('state', check)
      check()
    })
  }

  async function send(command: Command): Promise<unknown> {
    await ready()
    return tabs?.led() ? tabs.send(command) : connection.command(command)
  }

  function topic(name: string): Topic<M> {
    const onAny = (listener: (event: ThroughlineEvent) => void): (() => void) => {
      const release = want(name)
      const off = emitter.on(`topic ${name}`, listener)
      return () => {
        off()
        release()
      }
    }
    const publish = (type: string, data: unknown, more: object): Promise<never> =>
      send({ op: 'publish', topic: name, type, data, ...more }) as Promise<never>
    return {
      name,
      onAny,
      on: (type, listener) => onAny((event) => event.type === type && listener(event as never)),
      onReset: (listener) => onReset((reset) => reset.topics.includes(name) && listener(reset)),
      subscribe: () => want(name),
      publish: (type, data, { key, ttlMs, expect, eventId } = {}) =>
        publish(type, data, { key, ttl_ms: ttlMs, expect, event_id: eventId }),
      cast: (type, data, key) => publish(type, data, { key, ephemeral: true }),
      presence(status, info) {
        if (status === 'offline') present.delete(name)
        else present.set(name, { status, info })
        return send({ op: 'presence', topic: name, status, info })
      },
      members: async () =>
        ((await connection.http('v1/presence', { topic: name })) as { members?: Member[] }).members ?? [],
    }
  }

  return {
    get state() {
      return view()
    },
    get hello() {
      return tabs?.led()?.hello ?? connection.hello
    },
    subscribe: (listener) => emitter.on('state', listener),
    connect: start,
    close: stop,
    acquire() {
      holders += 1
      env.clearTimeout(releaseTimer)
      interest()
      let held = true
      return () => {
        if (held) holders -= 1
        if (held && !holders) releaseTimer = env.setTimeout(stop, timing.release)
        held = false
      }
    },
    ready,
    on: (type, listener) => listen(`type ${type}`, listener),
    onAny,
    onReset,
    events: () => iterate(onAny),
    topic,
    room: (id) => topic(`room:${id}`),
    send,
    prefer: (transport) => connection.dispatch(() => ladder.prefer(transport)),
  }
}
