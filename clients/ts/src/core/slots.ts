import type { Env } from './env.js'

/**
 * How many of the six requests that a browser allows to one HTTP/1.1 origin may be held, over all
 * of its pages.
 */
const SLOTS = 4

/** Protocols that the browser's timings name for requests that share a connection. */
const MULTIPLEXED = /^h[23]/

const hasMultiplexed = (address: string): boolean =>
  (performance.getEntries() as PerformanceResourceTiming[]).some(
    ({ name, nextHopProtocol }) => name.startsWith(address) && MULTIPLEXED.test(nextHopProtocol),
  )

/**
 * A client's right to hold a request, counted by Web Locks over all pages of this origin. Without
 * it too many pages would take all connections, and neither further pages nor the application's own
 * requests would be served.
 * @param base the gateway's address.
 */
export function createSlot({ locks, multiplexes = hasMultiplexed }: Env, base: string) {
  let release: (() => void) | undefined
  let taking: Promise<boolean> | undefined

  /** @returns false where another page has this one. */
  const takeOne = (index: number): Promise<boolean> =>
    new Promise((resolve) => {
      const granted = (lock: unknown): Promise<void> => {
        resolve(!!lock)
        return new Promise((done) => {
          if (lock) release = done
          else done()
        })
      }
      // Locks may be forbidden, or taken away from a page that is left: then nothing is counted.
      const gone = (): void => {
        release = undefined
        resolve(true)
      }
      locks?.request(`throughline:${base}:${index}`, { ifAvailable: true }, granted).catch(gone)
    })

  async function takeAny(): Promise<boolean> {
    for (let index = 0; index < SLOTS; index += 1) if (await takeOne(index)) return true
    return false
  }

  return {
    /** @returns false where other pages hold as many requests as may be. */
    async take(): Promise<boolean> {
      if (release || !locks || multiplexes(base)) return true
      taking ??= takeAny().finally(() => {
        taking = undefined
      })
      return taking
    },

    /** Nothing is held any more. */
    free(): void {
      release?.()
      release = undefined
    },
  }
}
