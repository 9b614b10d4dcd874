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
export function openPoll(request: LinkRequest, events: LinkEvents): Link {
  const { env } = request
  let stopped = false
  let current: AbortController | null = null
  let timer: unknown
  let waitMs = 0
  let holdMs = request.pollWaitMs
  let failures = 0

  const later = (ms: number): void => {
    timer = env.setTimeout(() => void poll(), ms)
  }
  const stop = (close: Close): void => {
    stopped = true
    events.closed(close)
  }

  async function poll(): Promise<void> {
    const startedAt = env.now()
    const abort = new AbortController()
    current = abort
    const cut = env.setTimeout(() => abort.abort(), waitMs + request.pollSlackMs)
    try {
      if (!env.fetch) throw new Error('no fetch here')
      const url = address(request, 'v1/poll', { wait: String(Math.ceil(waitMs / 1000)) })
      const response = await env.fetch(url, fetchInit(request, abort.signal))
      const text = response.status === 200 ? await response.text() : ''
      if (stopped) return
      if (response.status === 200) {
        failures = 0
        events.heard()
        const more = events.message(text)
        if (!stopped) next(more)
      } else if (response.status === 504 || response.status === 408) shorten(env.now() - startedAt, refusal(response))
      else stop(refusal(response))
    } catch (error) {
      if (!stopped) shorten(env.now() - startedAt, { kind: 'lost', message: String(error) })
    } finally {
      env.clearTimeout(cut)
    }
  }

  function next(more: boolean): void {
    const pause = holdMs === 0 && !more ? request.pollingIntervalMs : 0
    waitMs = holdMs
    later(pause)
  }

  /** A hold was cut: ask for less. Cut at once, or again and again: the path is gone. */
  function shorten(afterMs: number, close: Close): void {
    failures += 1
    if (waitMs === 0 || afterMs < HELD_MS || failures > FAILURES_MAX) return stop(close)
    holdMs = holdMs <= WAIT_MIN_MS ? 0 : Math.max(WAIT_MIN_MS, Math.min(holdMs / 2, 0.7 * afterMs))
    waitMs = holdMs
    later(0)
  }

  later(0)
  return {
    close: () => {
      stopped = true
      env.clearTimeout(timer)
      current?.abort()
    },
  }
}
