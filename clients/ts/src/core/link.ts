import type { Close } from './close.js'
import type { Env } from './env.js'
import type { Timing } from './timing.js'

/**
 * What a transport reports. Reports after the first `closed`, or after its own end, are not heard.
 */
export interface LinkEvents {
  /**
   * Any byte, an open socket or a response head included.
   * @param owes it ended in the middle of a message.
   */
  heard(owes?: boolean): unknown
  /** One JSON text: a batch or a reply. */
  message(text: string): unknown
  closed(close: Close): void
}

/** A running transport. */
export interface Link {
  /** Sends a command in band; absent where the transport cannot. */
  readonly send?: (text: string) => void
  /**
   * Gives up a request that waits and asks anew, with the parameters of now; absent where nothing
   * waits.
   */
  readonly again?: () => void
  /** Ends it without a report. */
  close(): void
}

/** What a transport needs to know. */
export interface LinkRequest {
  readonly env: Env
  readonly timing: Timing
  /** Asks for padding, which some buffering paths need. */
  readonly pad: boolean
  /** The current token is in it. */
  readonly tokens: { readonly current: string | null }
  /**
   * An address at the gateway, with cursor, topics and session as of now: a poll asks before every
   * request.
   */
  address(path: string, more?: Params): string
  /** Options of a request. */
  init(signal: AbortSignal): RequestInit
}

/** Query parameters; what is empty is left out. */
export type Params = Record<string, string | number | false | undefined>

/** Opens a transport. */
export type OpenLink = (request: LinkRequest, events: LinkEvents) => Link
