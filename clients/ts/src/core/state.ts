import type { Phase } from './ladder-types.js'
import type { ClientError } from './options.js'
import type { Transport } from './protocol.js'

/** What a connection shows, save for the cursor. */
export interface ConnectionState {
  readonly phase: Phase
  /** The transport that delivers; null while none is proven. */
  readonly transport: Transport | null
  /** Events are pushed as they happen. */
  readonly isRealtime: boolean
  /** Fruitless rounds since it last worked. */
  readonly retryCount: number
  /** Milliseconds since 1970; null: no attempt is planned. */
  readonly nextRetryAt: number | null
  /** Round trip of the latest ping; null where the transport has none. */
  readonly latencyMs: number | null
  readonly error: ClientError | null
}

/** One immutable view of the client. Two views are the same object as long as nothing changed. */
export interface ClientState extends ConnectionState {
  /** Everything up to here was delivered; may be given as `after`. */
  readonly cursor: string | null
}
