import type { LinkState } from './ladder-types.js'
import { RANK } from './ladder-types.js'
import type { Transport } from './protocol.js'
import type { Timing } from './timing.js'

const SWITCHES_MAX = 3
const HEARTBEAT_MIN = 3000

/** When to try a better transport beside one that works, and what the past says about doing so. */
export class Climb {
  /** When the next probe is due; Infinity: there is nothing above. */
  nextAt = Number.POSITIVE_INFINITY
  /** Heartbeat to ask for: shorter on paths that cut streams which were silent for long. */
  heartbeatMs: number
  private tries = 0
  private factor = 1
  private regained = false
  private switches: number[] = []

  constructor(
    private readonly timing: Timing,
    private readonly random: () => number,
  ) {
    this.heartbeatMs = timing.heartbeat
  }

  reset(): void {
    this.nextAt = Number.POSITIVE_INFINITY
    this.tries = 0
    this.factor = 1
    this.regained = false
  }

  /** Something changed: what did not work may work now. */
  hurry(now: number): void {
    this.reset()
    this.nextAt = now
    this.heartbeatMs = this.timing.heartbeat
  }

  switched(now: number): void {
    this.switches.push(now)
  }

  /** Learns from the end of a link. `top`: nothing better was allowed. */
  ended(link: LinkState, now: number, top: boolean): void {
    if (link.provenAt === null || link.closeAt !== null) return
    const life = now - link.provenAt
    if (life >= this.timing.upgradeLife) {
      if (top) this.reset()
    } else if (link.probe) this.factor *= 2
    const silence = now - link.heardAt
    if (link.leaving || link.transport === 'poll' || silence < HEARTBEAT_MIN || silence > link.heartbeatMs) return
    this.heartbeatMs = Math.max(HEARTBEAT_MIN, Math.min(this.heartbeatMs, Math.round(0.7 * silence)))
  }

  /** Sets the time of the next probe while the writer is below the best that is allowed. */
  plan(now: number, writer: LinkState | null, top: Transport | null, worked: ReadonlySet<Transport>): void {
    if (writer?.provenAt == null || top === null) return
    if (RANK[writer.transport] >= RANK[top]) {
      this.nextAt = Number.POSITIVE_INFINITY
      return
    }
    if (this.nextAt !== Number.POSITIVE_INFINITY) return
    const spread = 0.8 + 0.4 * this.random()
    if (worked.has(top) && !this.regained) {
      this.regained = true
      this.nextAt = now + this.timing.regain * spread
      return
    }
    const steps = this.timing.probe
    const wait = steps[Math.min(this.tries, steps.length - 1)] ?? this.timing.quarantine
    this.tries += 1
    this.nextAt = now + wait * spread * this.factor
  }

  /** True when it is time to probe; then the next one is planned anew. */
  due(now: number): boolean {
    if (now < this.nextAt) return false
    this.switches = this.switches.filter((at) => now - at < this.timing.switchWindow)
    const oldest = this.switches[this.switches.length - SWITCHES_MAX]
    this.nextAt = oldest === undefined ? Number.POSITIVE_INFINITY : oldest + this.timing.switchWindow
    return oldest === undefined
  }
}
