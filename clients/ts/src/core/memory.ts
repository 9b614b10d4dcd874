import type { Env } from './env.js'
import type { Transport } from './protocol.js'
import { NAMES, type Rung } from './rung.js'
import { QUARANTINE_MS } from './timing.js'

/**
 * Transport to the wall-clock time until which it is not worth trying, and `d`: the deployment it
 * was learnt with.
 */
type Kept = Partial<Record<Transport, number>> & { d?: string }

/**
 * What a page remembers for the next one: only which transports do not work here, and only for a
 * while. Storage may be absent, full or forbidden; then nothing is remembered.
 */
export function createMemory(env: Partial<Pick<Env, 'storage'>>, key: string) {
  let kept: Kept = {}
  try {
    kept = { ...(JSON.parse(env.storage?.getItem(key) as string) as Kept | null) }
  } catch {
    // Nothing readable: start fresh.
  }

  function write(): void {
    try {
      env.storage?.setItem(key, JSON.stringify(kept))
    } catch {
      // A full or forbidden storage only costs a slower start.
    }
  }

  return {
    /**
     * Until when the transport is not worth trying. A time too far away was written by a wrong
     * clock.
     */
    blockedUntil(rung: Rung, now: number): number {
      const until = Number(kept[NAMES[rung] as Transport])
      return until <= now + QUARANTINE_MS ? until : 0
    },

    keep(rung: Rung, until: number): void {
      kept[NAMES[rung] as Transport] = until
      write()
    },

    forget(): void {
      const { d } = kept
      kept = { d }
      write()
    },

    /** @returns true where negatives from another deployment have to be dropped. */
    metDeployment(deployment: string): boolean {
      const { d } = kept
      kept.d = deployment
      return d !== undefined && d !== deployment
    },
  }
}

/** What {@link createMemory} makes. */
export type Memory = ReturnType<typeof createMemory>
