import type { Connection, ConnectionEvents } from './connection.js'
import type { Env } from './env.js'
import type { ClientOptions } from './options.js'
import type { Delivery } from './session.js'
import type { ClientState } from './state.js'
import type { Wishes } from './wishes.js'

/** What one tab needs of its client. */
export interface TabHost {
  readonly options: ClientOptions
  readonly env: Env
  readonly connection: Connection
  /** What the connection tells; wrapped here, to pass it on. */
  readonly told: ConnectionEvents
  /** What this tab wants; replaced here by what all tabs want while this one leads. */
  readonly wishes: Wishes
  view(): ClientState
  deliver(delivery: Delivery): void
}
