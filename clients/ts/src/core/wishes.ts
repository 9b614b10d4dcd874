import type { PresenceStatus } from './topic.js'

/** How this client wants to be there in one topic; leaving is not wanting. */
export interface Presence {
  readonly status: PresenceStatus
  readonly info?: unknown
}

/** What the gateway should have of this client, now. */
export interface Wishes {
  topics(): readonly string[]
  present(): ReadonlyMap<string, Presence>
}

/** True where both name the same topics, in whatever order. */
export const sameTopics = (some: readonly string[], others: readonly string[]): boolean =>
  some.length === others.length && some.every((topic) => others.includes(topic))
