import type { Memory } from './memory.js'
import { NAMES, type Rung, SSE, WS } from './rung.js'
import { BLAME_MS, BUFFERED_MS, QUARANTINE_MS } from './timing.js'

const STRIKES = 3

const fresh = () => ({
  /** When a failure not yet judged happened, and how much it weighs. */
  failedAt: 0,
  weight: 0,
  strikes: 0,
  /** It has worked on this network. */
  proven: false,
  blockedUntil: 0,
  /** When a proven link of it last withheld what a lower transport then brought. */
  withheldAt: 0,
  /** Its latest proven link died young: the next lower transport starts beside it at once. */
  flaky: false,
})

/**
 * Decides when a transport, rather than the network or the server, is at fault. A failure alone
 * proves nothing; a failure beside or before the success of a lower transport does. The caller
 * leaves out what happens while the page is away.
 */
export function createBlame(memory: Memory) {
  let standing = NAMES.map(fresh)

  return {
    /** What is known of a transport on this network. */
    standing: (rung: Rung): Standing => standing[rung] as Standing,

    /** Another network, another deployment: nothing that was learnt holds. */
    clear(): void {
      standing = NAMES.map(fresh)
      memory.forget()
    },

    /** A path that withholds, or three strikes: left alone until then. */
    quarantine,

    /**
     * This transport works: turns the failures of better ones into strikes, and strikes into
     * quarantine.
     */
    judge(works: Rung, now: number): void {
      for (let rung: Rung = WS; rung > works; rung -= 1) {
        const own = standing[rung] as Standing
        if (!own.weight || now - own.failedAt > BLAME_MS) continue
        own.strikes += own.weight
        own.weight = 0
        if (own.strikes >= STRIKES) quarantine(rung as Rung, now)
      }
    },
  }

  function quarantine(rung: Rung, now: number): void {
    const own = standing[rung] as Standing
    own.strikes = 0
    own.blockedUntil = now + (rung === SSE ? BUFFERED_MS : QUARANTINE_MS)
    memory.keep(rung, own.blockedUntil)
  }
}

type Standing = ReturnType<typeof fresh>
