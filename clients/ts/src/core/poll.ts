import type { Close } from './close.js'
import { type Link, type LinkEvents, type LinkRequest, type Params, refusal } from './link.js'
import type { Batch } from './protocol.js'
import { CONNECT_SLOW_MS, POLL_HOLD_MS, POLL_SLACK_MS } from './timing.js'

const HOLD_MIN_MS = 3000
/** A request cut sooner than this was not cut for being held. */
const HELD_MS = 1000
const FAILURES_MAX = 2

/**
 * Long polls, one after another. The first asks for `wait=0`: its answer proves the path. A hold that is cut gets
 * shorter; on a path that cuts even the shortest it becomes plain polling.
 */
export function openPoll(request: LinkRequest, { heard, message, greeted, closed }: LinkEvents): Link {
  const { env, timing, address, init } = request
  const ended = new AbortController()
  let current: AbortController
  let timer: unknown
  let holdMs = POLL_HOLD_MS
  let failures = 0

  async function poll(waitMs: number): Promise<void> {
    const startedAt = env.now()
    const abort = new AbortController()
    current = abort
    const cut = (): void => abort.abort()
    ended.signal.onabort = cut
    timer = env.setTimeout(cut, waitMs ? waitMs + POLL_SLACK_MS : CONNECT_SLOW_MS)
    let close: Close
    try {
      const get = (params: Params): Promise<Response> => env.fetch(address('v1/poll', params), init(abort.signal))
      const response = await get({ wait: `${Math.ceil(waitMs / 1000)}` })
      const { status } = response
      const text = await response.text()
      if (status === 200 && request.doubts(JSON.parse(text))) {
        greeted((JSON.parse(await (await get({ wait: '0', after: '' })).text()) as Partial<Batch>).hello)
      }
      if (current !== abort) return
      if (status === 200) {
        failures = 0
        heard()
        return later(message(text) || holdMs ? 0 : timing.pollingInterval)
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
