/** Every duration of the ladder, in milliseconds. The defaults come from measurements of real intermediaries. */
export interface Timing {
  /** Without proof for this long, the next lower transport starts beside it. */
  stage: number
  /** A handshake or response head not answered by then is given up. */
  connect: number
  /** From an open WebSocket to its proof. */
  prove: number
  /** From SSE response headers to the first batch; more means a path that buffers. */
  firstByte: number
  /** From the first SSE batch to the second. */
  secondBatch: number
  /** A proven link that lost to a better one closes after this. */
  linger: number
  /** A failure counts against a transport only with a lower one proven this near to it. */
  blame: number
  /** Requested heartbeat. Short enough that a silent cut is suspected within 10 s. */
  heartbeat: number
  /** Slack after a heartbeat is due before the link is suspected and another starts beside it. */
  heartbeatSlack: number
  /** Silence that is always suspect, whatever the heartbeat. */
  fallbackDelay: number
  /** Time for any byte after a ping. */
  pong: number
  /** Heartbeat plus this without a byte: dead. */
  dead: number
  /** Waits before probing upward, the last one repeating; each is spread by 20 %. */
  probe: number[]
  /** First wait before probing a transport that has worked in this page. */
  regain: number
  /** A probe that won but died within this doubles the next wait. */
  upgradeLife: number
  /** No more than three switches of transport within this. */
  switchWindow: number
  /** How long a transport struck three times is left alone. */
  quarantine: number
  /** How long SSE is left alone after its path was seen to buffer. */
  buffered: number
  /** Backoff: random(0, min(retryMax, retryBase * 2^n)). */
  retryBase: number
  retryMax: number
  /** First retry after a proven link: random(0, this). */
  retryProven: number
  /** Proven life after which a link counts as stable. */
  stable: number
  /** Hold of one long poll. */
  pollWait: number
  /** Added to the hold before a poll without an answer is cut. */
  pollSlack: number
  /** Between polls on a path where holds are always cut. */
  pollingInterval: number
  /** A timer this late means that the machine slept. */
  late: number
  /** Hidden for longer than this: probe upward on return. */
  longHidden: number
  /** Wait for the reply to a command. */
  reply: number
  /** After the last `acquire` is released, before closing. */
  release: number
}

const SECOND = 1000
const MINUTE = 60 * SECOND

/** The defaults. */
export const TIMING: Readonly<Timing> = {
  stage: 2 * SECOND,
  connect: 10 * SECOND,
  prove: 6 * SECOND,
  firstByte: 3 * SECOND,
  secondBatch: 2 * SECOND,
  linger: SECOND,
  blame: 10 * SECOND,
  heartbeat: 8 * SECOND,
  heartbeatSlack: 2 * SECOND,
  fallbackDelay: 15 * SECOND,
  pong: 5 * SECOND,
  dead: 10 * SECOND,
  probe: [MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE],
  regain: 5 * SECOND,
  upgradeLife: 30 * SECOND,
  switchWindow: 5 * MINUTE,
  quarantine: 30 * MINUTE,
  buffered: 10 * MINUTE,
  retryBase: 500,
  retryMax: 30 * SECOND,
  retryProven: SECOND,
  stable: 10 * SECOND,
  pollWait: 25 * SECOND,
  pollSlack: 10 * SECOND,
  pollingInterval: 5 * SECOND,
  late: SECOND,
  longHidden: 5 * MINUTE,
  reply: 10 * SECOND,
  release: SECOND,
}
