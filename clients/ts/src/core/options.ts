import type { Env } from './env.js'
import type { Telemetry } from './ladder-types.js'
import type { ThroughlineEvent, Transport } from './protocol.js'
import type { Timing } from './timing.js'
import type { GetToken } from './token.js'

/**
 * How a client is set up. Everything may be left out in a browser page served by the gateway's
 * origin.
 */
export interface ClientOptions {
  /** The gateway's address, absolute or relative to the page. Default: the page's origin. */
  url?: string
  /** Supplies the token; called again before it expires and once after it is refused. */
  getToken?: GetToken
  /** A name in place of a token: `gateway dev` only. */
  user?: string
  /** Transports that may be used. Default: all. The order of preference is fixed: ws, sse, poll. */
  transports?: readonly Transport[]
  /** Where to start: a cursor, `earliest` (everything retained) or `latest`. Default: `latest`. */
  after?: string
  /** Topics beside the user's own and `all`. */
  topics?: readonly string[]
  /** Only events of these types; a trailing `*` is allowed. */
  types?: readonly string[]
  /** At most one batch per this many milliseconds. */
  interval?: number
  /**
   * Connect on the first `on`, `events`, `ready`, `acquire` or `send`. Default: true; otherwise
   * `connect` does.
   */
  autoConnect?: boolean
  /**
   * `tabs`: one connection for all tabs of this origin, where it has Web Locks. Default: `none`.
   */
  share?: 'none' | 'tabs'
  /** Keep in localStorage, for some minutes, which transports do not work here. Default: true. */
  remember?: boolean
  /** Cookies on cross-origin requests. Default: `same-origin`. */
  credentials?: RequestCredentials
  /** Overrides of single durations. */
  timing?: Partial<Timing>
  /**
   * Turns an event's `data` into what the application wants; an exception drops the event and is
   * reported.
   */
  decode?: (event: ThroughlineEvent) => unknown
  /** Hears which transport is in use, and why that changed. */
  telemetry?: (report: Telemetry) => void
  /** Replaces parts of the runtime in tests. */
  env?: Partial<Env>
}

/** Why the client stopped, or what the latest attempt met. */
export interface ClientError {
  /** A close code or an HTTP status. */
  readonly code?: number
  readonly message: string
  /** True: it will not try again by itself. */
  readonly fatal: boolean
}
