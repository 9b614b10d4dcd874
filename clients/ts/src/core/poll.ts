import type { Close } from './close.js'
import type { Link, LinkEvents, LinkRequest, Params } from './link.js'
import type { Batch, Hello } from './protocol.js'
import { refusal } from './refusal.js'

/**
 * Hold of one long poll, and what is added before one without an answer is cut: a silent cut shows
 * within 15 s.
 */
const HOLD_MS = 9000
const SLACK_MS = 5000
/** Time for the answer to one that is not held. */
const SHORT_MS = 10_000
const HOLD_MIN_MS = 3000
/** A request cut sooner than this was not cut for being held. */
const HELD_MS = 1000
const FAILURES_MAX = 2

/** What polls need beside what every transport does. */
export interface PollHost {
  /**
   * True where this request may be held: there are few such requests for all pages of an origin.
   */
  hold(): Promise<boolean>
  /** True where this batch may be of another user than the one before, and does not tell. */
  doubts(batch: Partial<Batch>): boolean
  /** The gateway says whom it takes this client for. */
  greeted(hello: Hello | undefined): void
  /** This batch has been handed over. */
  taken(batch: Partial<Batch>): void
}

/**
 * Long polls, one after another. The first asks for `wait=0`: its answer proves the path. A hold
 * that is cut gets shorter; on a path that cuts even the shortest it becomes plain polling, and so
 * it does while other pages hold as many requests as may be.
 */
// Its inner functions share the state of one loop of polls.
export function openPoll(
  { env, timing, address, init }: LinkRequest,
  { heard, message, closed }: LinkEvents,
  { hold, doubts, greeted, taken }: PollHost,
): Link {
  const ended = new AbortController()
  let current: AbortController
  let timer: unknown
  let holdMs = HOLD_MS
  let failures = 0

  async function poll(wishMs: number): Promise<void> {
    let waitMs = wishMs
    const abort = new AbortController()
    current = abort
    const cut = (): void => abort.abort()
    ended.signal.onabort = cut
    const isHeld = waitMs > 0 && (await hold())
    if (current !== abort || abort.signal.aborted) return
    if (!isHeld) waitMs = 0
    const startedAt = env.now()
    timer = env.setTimeout(cut, waitMs ? waitMs + SLACK_MS : SHORT_MS)
    let close: Close
    try {
      const get = (params: Params): Promise<Response> => env.fetch(address('v1/poll', params), init(abort.signal))
      const response = await get({ wait: `${Math.ceil(waitMs / 1000)}` })
      const { status } = response
      const text = await response.text()
      const batch: Partial<Batch> = status === 200 ? JSON.parse(text) : {}
      if (doubts(batch)) {
        greeted((JSON.parse(await (await get({ wait: '0', after: '' })).text()) as Partial<Batch>).hello)
      }
      if (current !== abort) return
      if (status === 200) {
        failures = 0
        heard()
        message(text)
        taken(batch)
        const { bye, more } = batch
        // A stream ends after its bye; polls have to be ended.
        if (bye) return closed({ kind: 'busy', message: bye.reason })
        // The first one is a proof; those that are not held come at intervals.
        return later(more || waitMs || (!wishMs && holdMs) ? 0 : timing.pollingInterval)
      }
      close = refusal(response)
      if (status !== 504) failures = FAILURES_MAX
    } catch (error) {
      close = { kind: 'lost', message: `${error}` }
    }
    if (current !== abort) return
    // A hold was cut: ask for less. Cut at once, or again and again: the path is gone.
    const heldMs = env.now() - startedAt
    failures += 1
    if (!waitMs || heldMs < HELD_MS || failures > FAILURES_MAX) return closed(close)
    holdMs = holdMs <= HOLD_MIN_MS ? 0 : Math.max(HOLD_MIN_MS, Math.min(holdMs / 2, 0.7 * heldMs))
    later(0)
  }

  /** The next one, held for as long as the path allows. */
  function later(ms: number): void {
    env.clearTimeout(timer)
    if (!ended.signal.aborted) timer = env.setTimeout(() => poll(holdMs), ms)
  }

  void poll(0)
  return {
    again() {
      env.clearTimeout(timer)
      const before = current
      void poll(0)
      before.abort()
    },
    close() {
      env.clearTimeout(timer)
      ended.abort()
    },
  }
}
