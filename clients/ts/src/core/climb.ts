import { type LinkState, RANK } from './ladder-types.js'
import type { Transport } from './protocol.js'
import type { Timing } from './timing.js'

const SWITCHES_MAX = 3
const HEARTBEAT_MIN = 3000

/** When to try a better transport beside one that works, and what the past says about doing so. */
export class Climb {
  /** When the next probe is due; Infinity: there is nothing above. */
  nextAt = Infinity
  /** Heartbeat to ask for: shorter on paths that cut streams which were silent for long. */
  heartbeatMs: number
  private tries = 0
  private factor = 1
  private regained = false
  private upgrades: number[] = []

  constructor(
    private readonly timing: Timing,
    private readonly random: () => number,
  ) {
    this.heartbeatMs = timing.heartbeat
  }

  /** What did not work may work now: probe at `at`, and begin the waits anew. */
  reset(at = Infinity): void {
    this.nextAt = at
    this.tries = 0
    this.factor = 1
    this.regained = false
    this.heartbeatMs = this.timing.heartbeat
  }

  upgraded(now: number): void {
    this.upgrades.push(now)
  }

  /** Learns from the end of a proven link. */
  ended(link: LinkState, now: number): void {
    if (link.probe && now - link.provenAt < this.timing.upgradeLife) this.factor *= 2
    const silence = now - link.heardAt
    if (link.leaving || link.transport === 'poll' || silence < HEARTBEAT_MIN || silence > link.heartbeatMs) return
    this.heartbeatMs = Math.max(HEARTBEAT_MIN, Math.min(this.heartbeatMs, Math.round(0.7 * silence)))
  }

  /**
   * Sets the time of the next probe while the writer is below the best that is allowed.
   * @param worked whether the best has worked on this network.
   */
  plan(now: number, writer: LinkState, top: Transport, worked: boolean): void {
    const { timing } = this
    if (RANK[writer.transport] >= RANK[top]) {
      this.nextAt = Infinity
      if (writer.provenAt + timing.upgradeLife <= now) {
        this.tries = 0
        this.factor = 1
        this.regained = false
      }
    } else if (this.nextAt === Infinity) {
      const regain = worked && !this.regained
      const wait = timing.probe[Math.min(this.tries, timing.probe.length - 1)] ?? timing.quarantine
      if (regain) this.regained = true
      else this.tries += 1
      this.nextAt = now + (regain ? timing.regain : wait * this.factor) * (0.8 + 0.4 * this.random())
    }
  }

  /** The probe is due: true to go on, false when there were too many switches of late. Either way plan anew. */
  take(now: number): boolean {
    this.upgrades = this.upgrades.slice(-SWITCHES_MAX)
    const free = this.upgrades.length < SWITCHES_MAX ? 0 : (this.upgrades[0] as number) + this.timing.switchWindow
    this.nextAt = free > now ? free : Infinity
    return free <= now
  }
}
