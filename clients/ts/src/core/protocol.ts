/** What travels on the wire: the batch, its members, commands and replies (PROTOCOL.md sections 2 and 4). */

/** A way of receiving the log. The names are those of `hello.transport`. Best first: ws, sse, poll. */
export type Transport = 'ws' | 'sse' | 'poll'

/** Event types and the shape of their `data`; narrow it to type an application's events. */
// biome-ignore lint/suspicious/noExplicitAny: the default map must accept every application type.
export type EventMap = Record<string, any>

/** One immutable item of the log. */
export interface ThroughlineEvent<D = unknown, T extends string = string> {
  /** Its number in the log. Absent on an ephemeral event, which is never replayed. */
  readonly seq?: number
  /** The topic by which this session sees it. */
  readonly topic: string
  readonly type: T
  /** RFC 3339, milliseconds, UTC. */
  readonly time: string
  readonly data: D
  readonly key?: string
  readonly id?: string
}

/** First words of a stream, and of a poll without a cursor. */
export interface Hello {
  readonly session: string
  readonly user: string
  readonly transport: Transport
  readonly heartbeat_ms: number
  readonly topics: readonly string[]
  /** Names this gateway release or process group. */
  readonly deployment: string
  readonly expires_at?: string
}

/** Events of `topics` may be missing: refetch them. Topics that are not named are complete. */
export interface Reset {
  readonly reason: 'expired' | 'epoch' | 'ahead'
  readonly topics: readonly string[]
  /** Milliseconds to wait before refetching; jittered by the gateway. */
  readonly refetch_after_ms: number
}

/** The stream is about to end. */
export interface Bye {
  readonly reason: 'drain' | 'expired_token' | 'replaced' | 'disconnected' | 'slow' | 'max_age'
  readonly reconnect_after_ms: number
}

/** The one object that the gateway sends, on every transport. */
export interface Batch {
  readonly after: string
  readonly cursor: string
  readonly events: readonly ThroughlineEvent[]
  readonly hello?: Hello
  readonly live?: boolean
  readonly more?: boolean
  readonly reset?: Reset
  readonly bye?: Bye
  readonly expiring?: { readonly expires_at: string }
}

/** An error reply to a command. */
export interface ReplyError {
  readonly code: string
  readonly message: string
  readonly retry_after_ms?: number
  readonly seq?: number
}

/** The answer to the command with the same id. */
export interface Reply {
  /** Null where the command had no id that could be read. */
  readonly reply: string | null
  // biome-ignore lint/suspicious/noExplicitAny: its members depend on the operation.
  readonly ok?: any
  readonly error?: ReplyError
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

const isText = (...values: unknown[]): boolean => values.every((value) => typeof value === 'string')

/** True for an object that can be a reply to a command. */
export const isReply = (value: unknown): value is Reply => isObject(value) && 'reply' in value

/**
 * True for a well-formed batch: text cursors, and sequenced events strictly rising. Anything else is treated
 * as a broken link, so nothing malformed reaches the application or moves the cursor.
 */
export function isBatch(value: unknown): value is Batch {
  if (!isObject(value) || !isText(value.after, value.cursor) || !Array.isArray(value.events)) return false
  let last = -1
  return value.events.every((event: unknown) => {
    if (!isObject(event) || !isText(event.type, event.topic)) return false
    const { seq } = event
    const rising = seq === undefined || (Number.isSafeInteger(seq) && (seq as number) > last)
    last = Number(seq ?? last)
    return rising
  })
}
