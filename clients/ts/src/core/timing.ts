/**
 * The durations that an application may have a reason to change, in milliseconds. The defaults come
 * from measurements of real intermediaries.
 */
export interface Timing {
  /** Requested heartbeat. Short enough that a silent cut is suspected within 10 s. */
  heartbeat: number
  /** Silence that is always suspect, whatever the heartbeat. */
  fallbackDelay: number
  /** Waits before probing upward, the last one repeating; each is spread by 20 %. */
  probe: number[]
  /** Proven life after which a link counts as stable. */
  stable: number
  /** Between polls on a path where holds are always cut. */
  pollingInterval: number
}

const SECOND = 1000
const MINUTE = 60 * SECOND

/** The defaults. */
export const TIMING: Readonly<Timing> = {
  heartbeat: 8 * SECOND,
  fallbackDelay: 15 * SECOND,
  probe: [MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE],
  stable: 10 * SECOND,
  pollingInterval: 5 * SECOND,
}

// What nobody has a reason to change.

/** Without proof for this long, the next lower transport starts beside it. */
export const STAGE_MS = 2 * SECOND
/**
 * From an open WebSocket to its proof: before the gateway retires the link beside it, as replaced,
 * after 5 s.
 */
export const PROVE_MS = 4500
/** From SSE response headers to the first batch; more means a path that buffers. */
export const FIRST_BYTE_MS = 3 * SECOND
/**
 * For what the gateway sends within 300 ms: the second batch, what follows a burst, the rest of a
 * message.
 */
export const OWED_MS = 2 * SECOND
/**
 * For each step to a proof once another transport is proven: this, and so many times what that one
 * took to answer.
 */
export const BESIDE_MS = 800
export const BESIDE_TIMES = 5
/** A proven link that lost to a better one closes after this. */
export const LINGER_MS = SECOND
/** A failure counts against a transport only with a lower one proven this near to it. */
export const BLAME_MS = 10 * SECOND
/** Time for any byte after a ping. */
export const PONG_MS = 5 * SECOND
/** A probe that won but died within this doubles the next wait. */
export const UPGRADE_LIFE_MS = 30 * SECOND
/** No more than three switches of transport within this. */
export const SWITCH_WINDOW_MS = 5 * MINUTE
/** How long a transport struck three times is left alone. */
export const QUARANTINE_MS = 30 * MINUTE
/** How long SSE is left alone after its path was seen to buffer. */
export const BUFFERED_MS = 10 * MINUTE
/** Backoff: random(0, min(RETRY_MAX_MS, RETRY_BASE_MS * 2^n)). */
export const RETRY_BASE_MS = 500
export const RETRY_MAX_MS = 30 * SECOND
/** The same for a page that is looked at. */
export const RETRY_SEEN_MS = 5 * SECOND
/** When a busy gateway does not say how long to wait. */
export const BUSY_MS = SECOND
/** A proven link that lived for this long is no reason to back off. */
export const LIVED_MS = 3 * SECOND
/** First retry after one that lived: random(0, this). */
export const RETRY_PROVEN_MS = SECOND
/** A timer this late means that the machine slept. */
export const LATE_MS = SECOND
/** Hidden for longer than this: probe upward on return. */
export const LONG_HIDDEN_MS = 5 * MINUTE
/** Time for the application's `getToken`. */
export const TOKEN_MS = 10 * SECOND
/** Wait for the reply to a command. */
export const REPLY_MS = 10 * SECOND
/** After the last `acquire` is released, before closing. */
export const RELEASE_MS = SECOND
/**
 * A handshake or response head not answered by then is given up: in most rounds, and in every third
 * one.
 */
export const CONNECT_MS = 5 * SECOND
export const CONNECT_SLOW_MS = 10 * SECOND
/** From an open WebSocket without a message until the token is sent as a command. */
export const AUTH_MS = SECOND
/** Slack after a heartbeat is due before the link is suspected and another starts beside it. */
export const HEARTBEAT_SLACK_MS = 2 * SECOND
/** Heartbeat plus this without a byte: dead. */
export const DEAD_MS = 10 * SECOND
/**
 * Waits before probing a transport that has worked in this page, or that a busy gateway may have
 * refused.
 */
export const REGAIN_MS = [5 * SECOND, 10 * SECOND, 15 * SECOND, 15 * SECOND]
