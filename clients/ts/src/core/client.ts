import { type Command, result, unheard } from './commands.js'
import { type ConnectionEvents, createConnection, type Source } from './connection.js'
import { runtimeEnv } from './env.js'
import { createListeners, guarded, report } from './listeners.js'
import type { ClientOptions } from './options.js'
import { part } from './part.js'
import type { EventMap, Hello, Refusal, Reply, Reset, ThroughlineEvent, Transport } from './protocol.js'
import type { Delivery } from './session.js'
import type { ClientState } from './state.js'
import { iterate } from './stream.js'
import { RELEASE_MS } from './timing.js'
import type { Topic } from './topic.js'
import type { Presence, Wishes } from './wishes.js'

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
  /**
   * Keeps the client connected until the returned function is called; the last release closes it a
   * moment later.
   */
  acquire(): () => void
  /** Resolves when events are being delivered; rejects when the client stops for good. */
  ready(): Promise<void>
  /** Hears events of one type. @returns stops listening. */
  on<T extends keyof M & string>(type: T, listener: (event: ThroughlineEvent<M[T], T>) => void): () => void
  /** Hears every event. */
  onAny(listener: (event: ThroughlineEvent) => void): () => void
  /**
   * Hears when events may be missing: wait `refetch_after_ms`, then fetch the state of the named
   * topics anew.
   */
  onReset(listener: (reset: Reset) => void): () => void
  /**
   * Every event from the first `next` on, for `for await`. A reader more than 1,000 events behind
   * gets an exception.
   */
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
// Its inner functions share the state of one client: a class would only spell each of them `this.`.
export function createClient<M extends EventMap = EventMap>(options: ClientOptions = {}): Client<M> {
  const env = runtimeEnv(options.env)
  const events = createListeners<ThroughlineEvent>()
  const resets = createListeners<Reset>()
  const refusals = createListeners<Refusal>()
  const states = createListeners<void>()
  /** Each who wants a topic. */
  const wants = new Set((options.topics ?? []).map((topic) => ({ topic })))
  const present = new Map<string, Presence>()
  const wishes: Wishes = {
    topics: () => [...new Set([...wants].map(({ topic }) => topic))],
    present: () => present,
  }
  let holders = 0
  let releaseTimer: unknown
  let snapshot: ClientState | null = null
  let syncing = false
  let wanted = false

  const told: ConnectionEvents = {
    drained: (_, deliveries) => deliveries.forEach(deliver),
    changed,
    hello() {},
    refused: refusals.tell,
  }
  const connection = createConnection(options, env, wishes, told)
  const { ladder, session } = connection
  const sharing = part(() => import('./tabs.js'))
  /** The connection, or the tabs that share one. */
  let source: Source = connection

  /** The event as the application wants it; nothing where `decode` threw. */
  function decoded(event: ThroughlineEvent): ThroughlineEvent[] {
    try {
      return [options.decode ? { ...event, data: options.decode(event) } : event]
    } catch (error) {
      report(error)
      return []
    }
  }

  function deliver(delivery: Delivery): void {
    if ('reset' in delivery) resets.tell(delivery.reset)
    else decoded(delivery).forEach(events.tell)
  }

  function view(): ClientState {
    const { cursor } = session
    if (snapshot?.cursor !== cursor) {
      snapshot = Object.freeze({ ...source.state(), cursor })
    }
    return snapshot as ClientState
  }

  function changed(): void {
    snapshot = null
    states.tell()
  }

  function start(): void {
    wanted = true
    if (options.share !== 'tabs' || source !== connection) return source.start()
    // Without this part the tab connects by itself; the next start asks again.
    sharing().then(
      ({ joinTabs }) => {
        if (source === connection) source = joinTabs({ options, env, connection, told, wishes, view, deliver })
        if (wanted) source.start()
      },
      () => wanted && connection.start(),
    )
  }

  function stop(): void {
    wanted = false
    source.stop()
  }

  /** First use connects; so does holding a client that was closed. */
  function interest(): void {
    const { phase, lastClose } = ladder
    const again = holders && phase === 'closed' && !lastClose
    if (again || (phase === 'idle' && options.autoConnect !== false)) start()
  }

  function onAny(listener: (event: ThroughlineEvent) => void): () => void {
    interest()
    return events.add(listener)
  }

  /** Hears events of one type, of all that `onAny` hears. */
  const typed =
    (onAny: Client['onAny']) =>
    (type: string, listener: (event: never) => void): (() => void) =>
      onAny((event) => event.type === type && listener(event as never))

  function want(topic: string): () => void {
    interest()
    const own = { topic }
    wants.add(own)
    sync()
    return () => {
      wants.delete(own)
      sync()
    }
  }

  /** Several changes in one turn make one request. */
  function sync(): void {
    if (!syncing) {
      queueMicrotask(() => {
        syncing = false
        source.sync()
      })
    }
    syncing = true
  }

  function ready(): Promise<void> {
    interest()
    const answer = new Promise<Reply>((resolve) => {
      const check = (): void => {
        const { phase, transport, error } = view()
        const closed = phase === 'closed'
        if (!closed && !transport) return
        off()
        resolve(closed ? unheard(error?.message ?? 'closed') : {})
      }
      const off = states.add(check)
      check()
    })
    return answer.then(result) as Promise<void>
  }

  async function send(command: Command): Promise<unknown> {
    await ready()
    return source.command(command)
  }

  function topic(name: string): Topic<M> {
    const onAny = (listener: (event: ThroughlineEvent) => void): (() => void) => {
      const release = want(name)
      const off = events.add((event) => {
        const { topic, topics = [topic] } = event
        if (topics.includes(name)) listener(event)
      })
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
      on: typed(onAny),
      onReset: (listener) => resets.add((reset) => reset.topics.includes(name) && listener(reset)),
      subscribe: () => want(name),
      publish: (type, data, { ttlMs, eventId, ...more } = {}) =>
        publish(type, data, { ttl_ms: ttlMs, event_id: eventId, ...more }),
      cast: (type, data, key) => publish(type, data, { key, ephemeral: true }),
      onRefused(listener) {
        const hear = (refusal: Refusal): unknown => refusal.topic === name && listener(refusal)
        const code = source.refused.get(name)
        if (code) queueMicrotask(() => guarded(hear)({ topic: name, code }))
        return refusals.add(hear)
      },
      async presence(status, info) {
        if (status === 'offline') present.delete(name)
        // As JSON shows it, which is how the gateway and the other tabs get it: what it cannot show
        // is refused here.
        else present.set(name, JSON.parse(JSON.stringify({ status, info })))
        await ready()
        return source.settled(name)
      },
      members: async () => (await connection.load()).members(name),
      since: async (after) => (await connection.load()).retained(name, after, decoded),
      state: async () => (await connection.load()).state(name, decoded),
    }
  }

  return {
    get state() {
      return view()
    },
    get hello() {
      return source.hello()
    },
    subscribe: states.add,
    connect: start,
    close: stop,
    acquire() {
      let held = 1
      holders += 1
      env.clearTimeout(releaseTimer)
      interest()
      return () => {
        holders -= held
        if (held && !holders) releaseTimer = env.setTimeout(stop, RELEASE_MS)
        held = 0
      }
    },
    ready,
    on: typed(onAny),
    onAny,
    onReset: resets.add,
    events: () => iterate(onAny),
    topic,
    room: (id) => topic(`room:${id}`),
    send,
    prefer: (transport) => connection.dispatch(() => ladder.prefer(transport)),
  }
}
