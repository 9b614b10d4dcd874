/** Why a link is gone, as far as the ladder cares. */
export type CloseKind =
  /** Cut, refused by something on the path, timed out: may be the transport's fault. */
  | 'lost'
  /**
   * A hole in the chain of batches, or a start that others have moved on from: reconnect with the
   * cursor.
   */
  | 'gap'
  /** The gateway is busy, draining, or asks for time: not the transport's fault. */
  | 'busy'
  /** Other pages of the origin hold as many requests as may be. */
  | 'full'
  /** The token was refused. */
  | 'auth'
  /** The gateway refuses for good. */
  | 'fatal'

/** How a link ended. */
export interface Close {
  readonly kind: CloseKind
  /** For people. */
  readonly message: string
  /** A close code, an HTTP status, or nothing. */
  readonly code?: number
  /** It ran out of time. */
  readonly late?: boolean
  /** Milliseconds that the other side asked to wait. */
  readonly waitMs?: number
}
