import type { Close } from './close.js'
import type { Link, LinkEvents, LinkRequest, Params } from './link.js'
import type { Batch } from './protocol.js'
import { refusal } from './refusal.js'

/** Hold of one long poll, and what is added before one without an answer is cut: a silent cut shows within 15 s. */
const HOLD_MS = 9000
const SLACK_MS = 5000
/** Time for the answer to one that is not held. */
const SHORT_MS = 10_000
const HOLD_MIN_MS = 3000
/** A request cut sooner than this was not cut for being held. */
const HELD_MS = 1000
const FAILURES_MAX = 2

/**
 * Long polls, one after another. The first asks for `wait=0`: its answer proves the path. A hold that is cut gets
 * shorter; on a path that cuts even the shortest it becomes plain polling, and so it does while other pages hold as
 * many requests as may be.
 * @param hold true where one more request may be held.
 */
export function openPoll(
  { env, timing, address, init, doubts }: LinkRequest,
  { heard, message, greeted, closed }: LinkEvents,
  hold: () => Promise<boolean>,
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
      if (status === 200 && doubts(JSON.parse(text))) {
        greeted((JSON.parse(await (await get({ wait: '0', after: '' })).text()) as Partial<Batch>).hello)
      }
      if (current !== abort) return
      if (status === 200) {
        failures = 0
        heard()
        // The first one is a proof; those that are not held come at intervals.
        return later(message(text) || waitMs || (!wishMs && holdMs) ? 0 : timing.pollingInterval)
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
