import type { Command, CommandError } from './commands.js'
import type { Connection, ConnectionEvents, Source } from './connection.js'
import type { ChannelLike, Env, LocksLike } from './env.js'
import type { ClientOptions } from './options.js'
import type { Hello, Reply } from './protocol.js'
import type { Delivery } from './session.js'
import type { ClientState } from './state.js'
import type { Wishes } from './wishes.js'

/** How often a follower asks, and for how long a visible one waits for an answer before it connects by itself. */
const ASK_MS = 1000
const SILENCE_MS = 3000

/** What one tab needs of its client. */
export interface TabHost {
  readonly options: ClientOptions
  readonly env: Env
  readonly connection: Connection
  /** What the connection tells; wrapped here, to pass it on. */
  readonly told: ConnectionEvents
  readonly wishes: Wishes
  /** Subscribes on behalf of another tab. */
  want(topic: string): void
  view(): ClientState
  deliver(delivery: Delivery): void
}

/** What travels between tabs. */
type Message =
  | { readonly ask: readonly string[] }
  | { readonly state: ClientState; readonly hello: Hello | null; readonly cursor: string | null }
  | { readonly before: string | null; readonly deliveries: readonly Delivery[]; readonly cursor: string }
  | { readonly id: string; readonly send: Command }
  | ({ readonly id: string } & Reply)

/**
 * One connection for all tabs of an origin. The tab that holds the lock leads: it connects, and passes on what it is
 * told. The others follow with a cursor of their own, so that the next leader goes on without a gap. A follower
 * that missed something, or that is looked at and hears nothing, connects by itself; so does every tab where there
 * are no locks to lead by.
 */
export function joinTabs(host: TabHost): Source {
  const { env, connection, told } = host
  const { navigator, BroadcastChannel } = globalThis as Partial<typeof globalThis>
  const { locks, channel: open } = {
    locks: navigator?.locks as LocksLike | undefined,
    channel: BroadcastChannel && ((name: string): ChannelLike => new BroadcastChannel(name) as ChannelLike),
    ...host.options.env,
  }
  if (!locks || !open) return { ...connection }

  const { session } = connection
  const name = `throughline:${connection.base}:${host.options.user ?? ''}`
  const replies = new Map<string, (reply: Reply) => void>()
  const nonce = env.random().toString(36).slice(2)
  let channel: ChannelLike | null = null
  let leading = false
  /** Connected by itself, or leading: what others say is not needed. */
  let alone = false
  let led: { state: ClientState; hello: Hello | null } | null = null
  let heardAt = 0
  let timer: unknown
  let count = 0
  let resign = (): void => {}

  const post = (message: Message): void => channel?.postMessage(message)

  /** Hands over what the leader was told, and moves the cursor. */
  function accept(deliveries: readonly Delivery[], cursor: string): void {
    const topics = [...host.wishes.topics(), ...(led?.hello?.topics.slice(0, 2) ?? [])]
    session.cursor = cursor
    // The leader is told of topics that only other tabs want.
    for (const one of deliveries) if ('reset' in one || topics.includes(one.topic)) host.deliver(one)
  }

  function goAlone(): void {
    if (alone) return
    alone = true
    led = null
    env.clearTimeout(timer)
    connection.start()
    told.changed()
  }

  function ask(): void {
    if (alone) return
    if (env.page.visible() && env.now() - heardAt >= SILENCE_MS) return goAlone()
    post({ ask: host.wishes.topics() })
    timer = env.setTimeout(ask, ASK_MS)
  }

  /** Has the leader tell where this tab's user is. */
  const attend = (topic: string): Promise<unknown> =>
    source.command({ op: 'presence', topic, ...(host.wishes.present().get(topic) ?? { status: 'offline' }) })

  function lead(message: Message): void {
    if ('ask' in message) {
      for (const topic of message.ask) if (!host.wishes.topics().includes(topic)) host.want(topic)
      post({ state: host.view(), hello: connection.hello(), cursor: session.cursor })
    } else if ('send' in message) {
      const { id, send } = message
      connection.command(send).then(
        (ok) => post({ id, ok }),
        ({ code, message, seq }: CommandError) => post({ id, error: { code, message, seq } }),
      )
    }
  }

  function follow(message: Message): void {
    if ('state' in message || 'before' in message) heardAt = env.now()
    if ('state' in message) {
      const { state, hello, cursor } = message
      const known = session.cursor
      if (known === null && cursor !== null) accept([], cursor)
      // The leader is elsewhere in the log than this tab: what lies between was not passed on.
      else if (cursor !== known && cursor !== null) return goAlone()
      const changed = JSON.stringify(led?.state) !== JSON.stringify(state)
      const before = led?.hello?.session
      led = { state, hello }
      if (changed) told.changed()
      if (before && before !== hello?.session) {
        for (const topic of host.wishes.present().keys()) attend(topic).catch(() => {}) // Told again with the next.
      }
    } else if ('before' in message) {
      if (session.cursor === message.before) accept(message.deliveries, message.cursor)
      else if (session.cursor !== null) goAlone()
    } else if ('id' in message && !('send' in message)) replies.get(message.id)?.(message)
  }

  const { drained } = told
  /** Passes on what this tab was told, if it leads. */
  told.drained = (before, deliveries, cursor) => {
    drained(before, deliveries, cursor)
    if (leading) post({ before, deliveries, cursor })
  }

  const source: Source = {
    refused: connection.refused,
    sync: connection.sync,
    settled: (topic) => (led ? attend(topic) : connection.settled(topic)),
    // The leader's while this tab follows.
    state: () => led?.state ?? connection.state(),
    hello: () => led?.hello ?? connection.hello(),

    start(): void {
      if (channel) return
      channel = open(name)
      channel.onmessage = ({ data }) => (leading ? lead(data as Message) : alone || follow(data as Message))
      heardAt = env.now()
      const ended = new AbortController()
      const term = new Promise<void>((resolve) => {
        resign = () => {
          ended.abort()
          resolve()
        }
      })
      const elected = (): Promise<void> => {
        leading = true
        goAlone()
        return term
      }
      locks.request(name, { signal: ended.signal }, elected).catch(() => {}) // Resigned before it was elected.
      ask()
    },

    stop(): void {
      env.clearTimeout(timer)
      resign()
      channel?.close()
      channel = led = null
      leading = alone = false
      connection.stop()
    },

    command(command: Command): Promise<unknown> {
      if (!led) return connection.command(command)
      count += 1
      const id = `${nonce}-${count}`
      const answer = new Promise<Reply>((resolve) => {
        const settle = (reply: Reply): void => {
          replies.delete(id)
          env.clearTimeout(late)
          resolve(reply)
        }
        const late = env.setTimeout(
          () => settle({ error: { code: 'unavailable', message: 'no reply' } }),
          connection.replyMs,
        )
        replies.set(id, settle)
        post({ id, send: command })
      })
      return answer.then(connection.result)
    },
  }
  return source
}
