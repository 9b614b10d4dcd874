import { RANK } from './ladder-types.js'
import type { Transport } from './protocol.js'
import type { Timing } from './timing.js'

const STRIKES = 3

interface Failure {
  readonly at: number
  readonly weight: number
}

/**
 * Decides when a transport, rather than the network or the server, is at fault. A failure alone proves nothing;
 * a failure next to the success of a lower transport does, unless the page was away or asleep.
 */
export class Blame {
  private readonly failures = new Map<Transport, Failure>()
  private readonly strikes = new Map<Transport, number>()
  private readonly blockedUntil = new Map<Transport, number>()
  private readonly provenAt = new Map<Transport, number>()
  /** Transports whose latest proven link died young. */
  readonly flaky = new Set<Transport>()
  /** Transports that have worked on this network. */
  readonly worked = new Set<Transport>()

  constructor(private readonly timing: Timing) {}

  blocked(transport: Transport, now: number): boolean {
    return (this.blockedUntil.get(transport) ?? 0) > now
  }

  /** When the transport may be tried again, or null when it is not blocked. */
  until(transport: Transport, now: number): number | null {
    return this.blocked(transport, now) ? (this.blockedUntil.get(transport) as number) : null
  }

  /** Not to be relied on alone: the next lower transport starts beside it at once. */
  doubtful(transport: Transport): boolean {
    return this.flaky.has(transport) || (this.strikes.get(transport) ?? 0) > 0
  }

  block(transport: Transport, until: number): void {
    this.blockedUntil.set(transport, until)
  }

  /** Another network, another deployment: nothing that was learnt holds. */
  clear(): void {
    for (const map of [this.failures, this.strikes, this.blockedUntil, this.provenAt]) map.clear()
    this.worked.clear()
    this.flaky.clear()
  }

  failed(transport: Transport, now: number, weight: number): void {
    this.failures.set(transport, { at: now, weight })
  }

  proven(transport: Transport, now: number): void {
    this.provenAt.set(transport, now)
    this.worked.add(transport)
  }

  /** It has worked for a while: what happened before is forgiven. */
  stable(transport: Transport): void {
    this.failures.delete(transport)
    this.strikes.delete(transport)
    this.flaky.delete(transport)
  }

  /**
   * Turns failures into strikes, and strikes into quarantine.
   * @param alive a lower transport that delivers at this moment counts as proven now.
   * @returns the transports that were just quarantined, and until when.
   */
  judge(now: number, alive: Transport | null): { transport: Transport; until: number }[] {
    const sentences: { transport: Transport; until: number }[] = []
    if (alive) this.provenAt.set(alive, now)
    for (const [transport, failure] of this.failures) {
      const near = [...this.provenAt].some(
        ([lower, at]) => RANK[lower] < RANK[transport] && Math.abs(at - failure.at) <= this.timing.blame,
      )
      if (!near) continue
      this.failures.delete(transport)
      const strikes = (this.strikes.get(transport) ?? 0) + failure.weight
      this.strikes.set(transport, strikes)
      if (strikes < STRIKES) continue
      this.strikes.delete(transport)
      const until = now + (transport === 'sse' ? this.timing.buffered : this.timing.quarantine)
      this.block(transport, until)
      sentences.push({ transport, until })
    }
    return sentences
  }
}
