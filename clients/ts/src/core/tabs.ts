import type { ClientState } from './client.js'
import type { Command, CommandError } from './commands.js'
import type { ChannelLike, Env } from './env.js'
import type { Hello, ReplyError } from './protocol.js'
import type { Delivery } from './session.js'

/** How often a follower asks, and for how long a visible one waits for an answer before it connects by itself. */
const ASK_MS = 1000
const SILENCE_MS = 3000

/** What one tab needs of its client. */
export interface TabHost {
  readonly env: Env
  readonly name: string
  readonly replyMs: number
  connect(): void
  disconnect(): void
  state(): ClientState
  hello(): Hello | null
  topics(): ReadonlySet<string>
  /** Subscribes on behalf of another tab. */
  want(topic: string): void
  run(command: Command): Promise<unknown>
  cursor(): string | null
  /** Hands over what the leader was told, and moves the cursor. */
  accept(deliveries: readonly Delivery[], cursor: string): void
  /** Makes the error of a refused command. */
  refused(error: ReplyError): Error
  /** What this tab shows has changed. */
  refresh(): void
}

/** What travels between tabs. */
type Message =
  | { readonly ask: readonly string[] }
  | { readonly state: ClientState; readonly hello: Hello | null; readonly cursor: string | null }
  | { readonly before: string | null; readonly deliveries: readonly Delivery[]; readonly cursor: string }
  | { readonly id: string; readonly send: Command }
  | { readonly id: string; readonly ok?: unknown; readonly error?: ReplyError }

/** One tab's part in sharing a connection. */
export type Tabs = ReturnType<typeof joinTabs>

/**
 * One connection for all tabs of an origin. The tab that holds the lock leads: it connects, and passes on what it is
 * told. The others follow with a cursor of their own, so that the next leader goes on without a gap. A follower
 * that missed something, or that is looked at and hears nothing, connects by itself.
 */
export function joinTabs(host: TabHost) {
  const { env, name } = host
  const replies = new Map<string, (answer: Extract<Message, { id: string }>) => void>()
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

  function goAlone(): void {
    if (alone) return
    alone = true
    led = null
    env.clearTimeout(timer)
    host.connect()
    host.refresh()
  }

  function ask(): void {
    if (alone) return
    if (env.page.visible() && env.now() - heardAt >= SILENCE_MS) return goAlone()
    post({ ask: [...host.topics()] })
    timer = env.setTimeout(ask, ASK_MS)
  }

  function lead(message: Message): void {
    if ('ask' in message) {
      for (const topic of message.ask) if (!host.topics().has(topic)) host.want(topic)
      post({ state: host.state(), hello: host.hello(), cursor: host.cursor() })
    } else if ('send' in message) {
      const { id, send } = message
      host.run(send).then(
        (ok) => post({ id, ok }),
        ({ code, message, seq }: CommandError) => post({ id, error: { code, message, seq } }),
      )
    }
  }

  function follow(message: Message): void {
    if ('state' in message || 'before' in message) heardAt = env.now()
    if ('state' in message) {
      const { state, hello, cursor } = message
      const known = host.cursor()
      if (known === null && cursor !== null) host.accept([], cursor)
      // The leader is elsewhere in the log than this tab: what lies between was not passed on.
      else if (cursor !== known && cursor !== null) return goAlone()
      const changed = JSON.stringify(led?.state) !== JSON.stringify(state)
      led = { state, hello }
      if (changed) host.refresh()
    } else if ('before' in message) {
      if (host.cursor() === message.before) host.accept(message.deliveries, message.cursor)
      else if (host.cursor() !== null) goAlone()
    } else if ('id' in message && !('send' in message)) replies.get(message.id)?.(message)
  }

  return {
    /** The leader's state and session while this tab follows; null: go by the own ones. */
    led: () => led,

    start(): void {
      if (channel) return
      channel = env.channel?.(name) ?? null
      if (channel) {
        channel.onmessage = ({ data }) => (leading ? lead(data as Message) : alone || follow(data as Message))
      }
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
      env.locks?.request(name, { signal: ended.signal }, elected).catch(() => {}) // Resigned before it was elected.
      ask()
    },

    stop(): void {
      env.clearTimeout(timer)
      resign()
      channel?.close()
      channel = led = null
      leading = alone = false
      host.disconnect()
    },

    /** Passes on what this tab was told, if it leads. */
    relay(before: string | null, deliveries: readonly Delivery[], cursor: string): void {
      if (leading) post({ before, deliveries, cursor })
    },

    /** Sends a command through the leader. */
    send(command: Command): Promise<unknown> {
      count += 1
      const id = `${nonce}-${count}`
      return new Promise((resolve, reject) => {
        const late = env.setTimeout(() => {
          replies.delete(id)
          reject(host.refused({ code: 'unavailable', message: 'no reply in time' }))
        }, host.replyMs)
        replies.set(id, (answer) => {
          replies.delete(id)
          env.clearTimeout(late)
          const { error, ok } = answer as Exclude<typeof answer, { send: Command }>
          if (error) reject(host.refused(error))
          else resolve(ok)
        })
        post({ id, send: command })
      })
    },
  }
}
