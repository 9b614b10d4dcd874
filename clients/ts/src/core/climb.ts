import { type LinkState, RANK } from './ladder-types.js'
import type { Transport } from './protocol.js'
import type { Timing } from './timing.js'

const SWITCHES_MAX = 3
const HEARTBEAT_MIN = 3000

/** When to try a better transport beside one that works, and what the past says about doing so. */
export function createClimb(timing: Timing, random: () => number) {
  let nextAt = Infinity
  let heartbeatMs = timing.heartbeat
  let tries = 0
  let factor = 1
  let regained = false
  let upgrades: number[] = []

  function restart(): void {
    tries = 0
    factor = 1
    regained = false
  }

  return {
    /** When the next probe is due; Infinity: there is nothing above. */
    get nextAt() {
      return nextAt
    },
    /** Heartbeat to ask for: shorter on paths that cut streams which were silent for long. */
    get heartbeatMs() {
      return heartbeatMs
    },
    /** What did not work may work now: probe at `at`, and begin the waits anew. */
    reset(at = Infinity): void {
      nextAt = at
      heartbeatMs = timing.heartbeat
      restart()
    },
    upgraded(now: number): void {
      upgrades = [...upgrades, now].slice(-SWITCHES_MAX)
    },
    /** Learns from the end of a proven link. */
    ended(link: LinkState, now: number): void {
      if (link.climbing && now - link.provenAt < timing.upgradeLife) factor *= 2
      const silence = now - link.heardAt
      if (link.leaving || link.transport === 'poll' || silence < HEARTBEAT_MIN || silence > link.heartbeatMs) return
      heartbeatMs = Math.max(HEARTBEAT_MIN, Math.min(heartbeatMs, Math.round(0.7 * silence)))
    },
    /**
     * Sets the time of the next probe while the writer is below the best that is allowed.
     * @param worked whether the best has worked on this network.
     */
    plan(now: number, writer: LinkState, top: Transport, worked: boolean): void {
      if (RANK[writer.transport] >= RANK[top]) {
        nextAt = Infinity
        if (writer.provenAt + timing.upgradeLife <= now) restart()
      } else if (nextAt === Infinity) {
        const regain = worked && !regained
        const wait = timing.probe[Math.min(tries, timing.probe.length - 1)] ?? timing.quarantine
        if (regain) regained = true
        else tries += 1
        nextAt = now + (regain ? timing.regain : wait * factor) * (0.8 + 0.4 * random())
      }
    },
    /** The probe is due: true to go on, false when there were too many switches of late. Either way plan anew. */
    take(now: number): boolean {
      const oldest = upgrades[SWITCHES_MAX - 1] ? (upgrades[0] as number) + timing.switchWindow : 0
      nextAt = oldest > now ? oldest : Infinity
      return oldest <= now
    },
  }
}
