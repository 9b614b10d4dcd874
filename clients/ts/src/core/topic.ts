import type { Batch, EventMap, Refusal, Reset, ThroughlineEvent } from './protocol.js'

/**
 * The topics by which a session sees an event. Of shared tabs alone: the core would share a third
 * part with them.
 */
export const topicsOf = ({ topic, topics }: ThroughlineEvent): readonly string[] => topics ?? [topic]

/** Options of a publish (PROTOCOL.md, C13). */
export interface PublishOptions {
  key?: string
  /** Milliseconds after which it is not replayed any more. */
  ttlMs?: number
  /** Append only if this is the seq of the topic's last event; 0: it has none. */
  expect?: number
  /** A repetition with the same id within 5 minutes is not published again. */
  eventId?: string
}

/** How a member is there; `offline` leaves. */
export type PresenceStatus = 'online' | 'away' | 'offline'

/** Someone who is present in a topic. */
export interface Member {
  readonly user: string
  readonly status: PresenceStatus
  readonly info?: unknown
  readonly since: string
  readonly last_seen: string
  readonly sessions: number
}

/** The latest event of each key of a topic, up to a point of the log. */
export interface TopicState {
  /** The point: what changes behind it, `since` and the stream bring. */
  readonly cursor: string
  /** The gateway does not have all keys. */
  readonly partial: boolean
  readonly events: readonly ThroughlineEvent[]
}

/** One topic: listening subscribes, and the last listener to leave unsubscribes. */
export interface Topic<M extends EventMap = EventMap> {
  readonly name: string
  /** Hears events of one type in this topic. @returns stops listening. */
  on<T extends keyof M & string>(type: T, listener: (event: ThroughlineEvent<M[T], T>) => void): () => void
  /** Hears every event in this topic. */
  onAny(listener: (event: ThroughlineEvent) => void): () => void
  /** Hears when events of this topic may be missing. */
  onReset(listener: (reset: Reset) => void): () => void
  /** Hears that the gateway does not give this topic to the session, which goes on without it. */
  onRefused(listener: (refusal: Refusal) => void): () => void
  /** Subscribes without listening. @returns gives it up. */
  subscribe(): () => void
  /**
   * Appends an event.
   * @throws CommandError; with `expect`, `conflict` carries the topic's last seq.
   */
  publish<T extends keyof M & string>(
    type: T,
    data: M[T],
    options?: PublishOptions,
  ): Promise<{ cursor: string; seq?: number }>
  /** Tells those who are connected now: never stored, never replayed. */
  cast<T extends keyof M & string>(type: T, data: M[T], key?: string): Promise<unknown>
  /**
   * Makes this client a member and keeps it one across reconnects; `offline` leaves. Resolves when
   * the gateway has what is wanted by then: of changes in quick succession only the last one may be
   * told.
   */
  presence(status: PresenceStatus, info?: unknown): Promise<unknown>
  /** Who is present. */
  members(): Promise<Member[]>
  /**
   * The events of this topic that the gateway retains after a cursor, or all of them after
   * `earliest`. `more` asks for another call with `cursor`; `reset` says that events after the
   * given cursor may be missing. @throws CommandError
   */
  since(after: string): Promise<Batch>
  /**
   * Where things stand. @throws CommandError; `not_found`: the topic keeps no state (the gateway's
   * `--state`).
   */
  state(): Promise<TopicState>
}
