import type { LinkState } from './ladder-types.js'
import { POLL } from './rung.js'
import { REGAIN_MS, SWITCH_WINDOW_MS, type Timing, UPGRADE_LIFE_MS } from './timing.js'

const SWITCHES_MAX = 3
const HEARTBEAT_MIN = 3000

/** When to try a better transport beside one that works, and what the past says about doing so. */
// Its inner functions share the state of one climb.
export function createClimb(timing: Timing, random: () => number) {
  const { probe } = timing
  let upgrades: number[] = []
  let tries = 0
  let regains = 0
  let factor = 1

  const climb = {
    /** When the next probe is due; Infinity: there is nothing above. */
    nextAt: Infinity,
    /** Heartbeat to ask for: shorter on paths that cut streams which were silent for long. */
    heartbeatMs: timing.heartbeat,
    /** What did not work may work now: probe at `at`, and begin the waits anew. */
    reset(at = Infinity): void {
      climb.nextAt = at
      climb.heartbeatMs = timing.heartbeat
      restart()
    },
    upgraded(now: number): void {
      upgrades = [now, ...upgrades].slice(0, SWITCHES_MAX)
    },
    /** Learns from the end of a proven link. */
    ended(link: LinkState, now: number): void {
      if (link.climbing && now - (link.provenAt as number) < UPGRADE_LIFE_MS) factor *= 2
      const silence = now - link.heardAt
      if (link.leaving || link.rung === POLL || silence < HEARTBEAT_MIN || silence > link.heartbeatMs) return
      climb.heartbeatMs = Math.max(HEARTBEAT_MIN, Math.min(climb.heartbeatMs, 0.7 * silence))
    },
    /**
     * Sets the time of the next probe.
     * @param below whether there is something better to try.
     * @param hopeful whether some of it has worked on this network, or its failures say little.
     */
    plan(now: number, writer: LinkState, below: boolean, hopeful: boolean): void {
      if (!below) {
        climb.nextAt = Infinity
        if ((writer.provenAt as number) + UPGRADE_LIFE_MS <= now) restart()
      } else if (climb.nextAt === Infinity) {
        const soon = hopeful && REGAIN_MS[regains++]
        const wait = soon || (probe[tries++] ?? (probe.at(-1) as number)) * factor
        climb.nextAt = now + wait * (0.8 + 0.4 * random())
      }
    },
    /**
     * The probe is due: true to go on, false when there were too many switches of late. Either way
     * plan anew.
     */
    take(now: number): boolean {
      const freeAt = (upgrades[SWITCHES_MAX - 1] ?? 0) + SWITCH_WINDOW_MS
      climb.nextAt = freeAt > now ? freeAt : Infinity
      return freeAt <= now
    },
  }

  function restart(): void {
    tries = regains = 0
    factor = 1
  }

  return climb
}
