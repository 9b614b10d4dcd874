import type { Command } from './commands.js'
import type { EventMap, Reset, ThroughlineEvent } from './protocol.js'

/** Options of a publish (PROTOCOL.md section 4). */
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

/** What a topic needs of its client. */
export interface TopicHost {
  send(command: Command): Promise<unknown>
  http(path: string, params: Record<string, string>): Promise<unknown>
  want(topic: string): () => void
  hear(name: string, listener: (event: ThroughlineEvent) => void): () => void
  onReset(listener: (reset: Reset) => void): () => void
  announce(topic: string, status: PresenceStatus, info?: unknown): Promise<unknown>
}

/** One topic: listening subscribes, and the last listener to leave unsubscribes. */
export class Topic<M extends EventMap = EventMap> {
  constructor(
    private readonly host: TopicHost,
    readonly name: string,
  ) {}

  /** Hears events of one type in this topic. @returns stops listening. */
  on<T extends keyof M & string>(type: T, listener: (event: ThroughlineEvent<M[T], T>) => void): () => void {
    return this.listen((event) => {
      if (event.type === type) listener(event as ThroughlineEvent<M[T], T>)
    })
  }

  /** Hears every event in this topic. */
  onAny(listener: (event: ThroughlineEvent) => void): () => void {
    return this.listen(listener)
  }

  /** Hears when events of this topic may be missing. */
  onReset(listener: (reset: Reset) => void): () => void {
    return this.host.onReset((reset) => {
      if (reset.topics.includes(this.name)) listener(reset)
    })
  }

  /** Subscribes without listening. @returns gives it up. */
  subscribe(): () => void {
    return this.host.want(this.name)
  }

  /** Appends an event. @throws CommandError; with `expect`, `conflict` carries the topic's last seq. */
  publish<T extends keyof M & string>(
    type: T,
    data: M[T],
    options: PublishOptions = {},
  ): Promise<{ cursor: string; seq?: number }> {
    const { key, ttlMs, expect, eventId } = options
    const command = { op: 'publish', topic: this.name, type, data, key, ttl_ms: ttlMs, expect, event_id: eventId }
    return this.host.send(command) as Promise<{ cursor: string; seq?: number }>
  }

  /** Tells those who are connected now: never stored, never replayed. */
  cast<T extends keyof M & string>(type: T, data: M[T], key?: string): Promise<unknown> {
    return this.host.send({ op: 'publish', topic: this.name, type, data, key, ephemeral: true })
  }

  /** Makes this client a member and keeps it one across reconnects; `offline` leaves. */
  presence(status: PresenceStatus, info?: unknown): Promise<unknown> {
    return this.host.announce(this.name, status, info)
  }

  /** Who is present. */
  async members(): Promise<Member[]> {
    const answer = (await this.host.http('v1/presence', { topic: this.name })) as { members?: Member[] }
    return answer.members ?? []
  }

  private listen(listener: (event: ThroughlineEvent) => void): () => void {
    const release = this.host.want(this.name)
    const off = this.host.hear(`topic ${this.name}`, listener)
    return () => {
      off()
      release()
    }
  }
}
