import type { Close } from './ladder-types.js'
import { address, fetchInit, type Link, type LinkEvents, type LinkRequest, refusal } from './link.js'

const WAIT_MIN_MS = 3000
/** A request cut sooner than this was not cut for being held. */
const HELD_MS = 1000
const FAILURES_MAX = 2

/**
 * Long polls, one after another. The first asks for `wait=0`: its answer proves the path. A hold that is cut gets
 * shorter; on a path that cuts even the shortest it becomes plain polling.
 */
export function openPoll(request: LinkRequest, { heard, message, closed }: LinkEvents): Link {
  const { env, timing } = request
  let abort = new AbortController()
  let stopped = false
  let timer: unknown
  let waitMs = 0
  let holdMs = timing.pollWait
  let failures = 0

  const later = (ms: number): void => {
    if (!stopped) timer = env.setTimeout(poll, ms)
  }

  async function poll(): Promise<void> {
    const startedAt = env.now()
    abort = new AbortController()
    const cut = env.setTimeout(() => abort.abort(), waitMs + timing.pollSlack)
    let close: Close
    try {
      const url = address(request, 'v1/poll', { wait: String(Math.ceil(waitMs / 1000)) })
      const response = await env.fetch(url, fetchInit(request, abort.signal))
      const text = await response.text()
      if (response.status === 200) {
        failures = 0
        heard()
        const more = message(text)
        waitMs = holdMs
        return later(holdMs || more ? 0 : timing.pollingInterval)
      }
      close = refusal(response)
      if (response.status !== 504) failures = FAILURES_MAX
    } catch (error) {
      close = { kind: 'lost', message: String(error) }
    } finally {
      env.clearTimeout(cut)
    }
    // A hold was cut: ask for less. Cut at once, or again and again: the path is gone.
    const heldMs = env.now() - startedAt
    failures += 1
    if (!waitMs || heldMs < HELD_MS || failures > FAILURES_MAX) return closed(close)
    holdMs = holdMs <= WAIT_MIN_MS ? 0 : Math.max(WAIT_MIN_MS, Math.min(holdMs / 2, 0.7 * heldMs))
    waitMs = holdMs
    later(0)
  }

  later(0)
  return {
    close() {
      stopped = true
      env.clearTimeout(timer)
      abort.abort()
    },
  }
}
