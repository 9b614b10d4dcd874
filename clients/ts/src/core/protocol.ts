/**
 * What travels on the wire: the batch, its members, commands and replies (PROTOCOL.md sections 2
 * and 4).
 */

/**
 * A way of receiving the log. The names are those of `hello.transport`. Best first: ws, sse, poll.
 */
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
  /**
   * Every topic by which this session sees it, the first of them `topic`. Absent if there is no
   * other.
   */
  readonly topics?: readonly string[]
  readonly type: T
  /** RFC 3339, milliseconds, UTC. */
  readonly time: string
  readonly data: D
  readonly key?: string
  readonly id?: string
}

/** A topic that a session asked for and does not have. */
export interface Refusal {
  readonly topic: string
  /** `forbidden` by the grant, `too_many_topics`, or another code of a refused command. */
  readonly code: string
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
  /** Topics that were asked for and that this session does not have; absent: it has them all. */
  readonly refused?: readonly Refusal[]
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
  readonly reason:
    | 'drain'
    | 'expired_token'
    | 'replaced'
    | 'disconnected'
    | 'slow'
    | 'max_age'
    | 'silent'
    | 'unavailable'
    | 'rate_limited'
  readonly reconnect_after_ms: number
}

/** The one object that the gateway sends, on every transport. */
export interface Batch {
  readonly after: string
  readonly cursor: string
  readonly events: readonly ThroughlineEvent[]
  readonly hello?: Hello
  /** Whose answer to a poll without a hello it is. */
  readonly user?: string
  readonly live?: boolean
  readonly more?: boolean
  readonly reset?: Reset
  readonly bye?: Bye
  readonly expiring?: { readonly expires_at: string }
  /** What `hello.refused` says, in the answer to a poll without a hello. */
  readonly refused?: readonly Refusal[]
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
  /** Null where the command had no id that could be read; absent in an answer made here. */
  readonly reply?: string | null
  // biome-ignore lint/suspicious/noExplicitAny: its members depend on the operation.
  readonly ok?: any
  readonly error?: ReplyError
}

/** True for an object that can be a reply to a command. */
export const isReply = (value: Partial<Reply> | null | undefined): value is Reply => value?.reply !== undefined

/**
 * True for a well-formed batch: text cursors, and sequenced events strictly rising. Anything else
 * is treated as a broken link, so nothing malformed reaches the application or moves the cursor.
 */
export function isBatch(value: Partial<Batch> | null | undefined): value is Batch {
  let last = -1
  const rising = (event: Partial<ThroughlineEvent> | null): boolean => {
    const { topic, type, seq } = event ?? {}
    const before = last
    last = seq ?? last
    return isText(topic, type) && (seq === undefined || (Number.isSafeInteger(seq) && seq > before))
  }
  return isText(value?.after, value?.cursor) && Array.isArray(value?.events) && value.events.every(rising)
}

const isText = (...values: unknown[]): boolean => values.every((value) => typeof value === 'string')
