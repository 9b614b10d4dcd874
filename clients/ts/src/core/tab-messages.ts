import type { Command } from './commands.js'
import type { Hello, Refusal, Reply } from './protocol.js'
import type { Delivery } from './session.js'
import type { ClientState } from './state.js'
import type { Presence } from './wishes.js'

/** What a tab wants of the tab that leads, said again and again: it counts for some seconds. */
export interface Ask {
  readonly topics: readonly string[]
  readonly present: readonly (readonly [topic: string, presence: Presence])[]
  readonly visible: boolean
  /** It has a connection of its own, and wants its topics for the moment when it can do without. */
  readonly alone: boolean
}

/** What the leader shows: its client, and where it is in the log. */
export interface Lead {
  readonly state: ClientState
  readonly hello: Hello | null
  readonly cursor: string | null
  /** Topics that the leader receives, each with the cursor above which it has all of its events. */
  readonly topics: readonly (readonly [topic: string, since: string])[]
  readonly refused: readonly Refusal[]
  /** What the leader wants for itself. */
  readonly own: Ask
  /** When it was elected: the latest election counts. */
  readonly term: number
}

/** What travels between the tabs of one identity. */
export type Message = { readonly from: string } & (
  | { readonly ask: Ask }
  | { readonly gone: true }
  | { readonly lead: Lead }
  /**
   * What the leader was given between two cursors, for the tabs that it serves, and whose
   * connection brought it.
   */
  | {
      readonly user: string | undefined
      readonly before: string | null
      readonly deliveries: readonly Delivery[]
      readonly cursor: string
      readonly served: readonly string[]
    }
  /** A command for the leader of that name and no other. */
  | { readonly to: string; readonly id: string; readonly send: Command }
  /** Asks for a reply once the gateway has this tab's presence in the topic. */
  | { readonly to: string; readonly id: string; readonly settle: string }
  | { readonly to: string; readonly id: string; readonly reply: Reply }
)
