import { RANK } from './ladder-types.js'
import type { Transport } from './protocol.js'
import type { Timing } from './timing.js'

const STRIKES = 3

/** What is known of one transport on this network. */
interface Standing {
  /** When a failure not yet judged happened, and how much it weighs. */
  failedAt: number
  weight: number
  strikes: number
  provenAt: number
  blockedUntil: number
  /** Its latest proven link died young: the next lower transport starts beside it at once. */
  flaky: boolean
}

const fresh = (): Standing => ({ failedAt: 0, weight: 0, strikes: 0, provenAt: 0, blockedUntil: 0, flaky: false })

/**
 * Decides when a transport, rather than the network or the server, is at fault. A failure alone proves nothing; a
 * failure followed by the success of a lower transport does. The caller leaves out failures of a page that was away.
 */
export function createBlame(timing: Timing) {
  const standing: Record<Transport, Standing> = { ws: fresh(), sse: fresh(), poll: fresh() }

  return {
    standing,
    /** Another network, another deployment: nothing that was learnt holds. */
    clear(): void {
      for (const transport of ['ws', 'sse', 'poll'] as const) Object.assign(standing[transport], fresh())
    },
    /**
     * Turns failures into strikes, and strikes into quarantine.
     * @param sentence called for each transport that is quarantined now.
     */
    judge(now: number, sentence: (transport: Transport, until: number) => void): void {
      for (const upper of ['ws', 'sse'] as const) {
        const accused = standing[upper]
        const near = (lower: Transport): boolean => {
          const after = standing[lower].provenAt - accused.failedAt
          return RANK[lower] < RANK[upper] && after >= 0 && after <= timing.blame
        }
        if (!accused.weight || !(near('sse') || near('poll'))) continue
        accused.strikes += accused.weight
        accused.weight = 0
        if (accused.strikes < STRIKES) continue
        accused.strikes = 0
        accused.blockedUntil = now + (upper === 'sse' ? timing.buffered : timing.quarantine)
        sentence(upper, accused.blockedUntil)
      }
    },
  }
}
