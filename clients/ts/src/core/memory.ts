import type { StorageLike } from './env.js'
import type { Transport } from './protocol.js'

/** Transport to the wall-clock time until which it is not worth trying, and `d`: the deployment it was learnt with. */
type Kept = Partial<Record<Transport, number>> & { d?: string }

/**
 * What a page remembers for the next one: only which transports do not work here, and only for a while.
 * Storage may be absent, full or forbidden; then nothing is remembered.
 */
export function createMemory(storage: StorageLike | null, key: string) {
  let kept: Kept = {}
  try {
    kept = { ...(JSON.parse(storage?.getItem(key) as string) as Kept | null) }
  } catch {
    // Nothing readable: start fresh.
  }

  function write(): void {
    try {
      storage?.setItem(key, JSON.stringify(kept))
    } catch {
      // A full or forbidden storage only costs a slower start.
    }
  }

  return {
    /** Until when the transport is not worth trying. A time further away than `maxMs` was written by a wrong clock. */
    blockedUntil(transport: Transport, now: number, maxMs: number): number {
      const until = Number(kept[transport])
      return until <= now + maxMs ? until : 0
    },

    remember(transport: Transport, until: number): void {
      kept[transport] = until
      write()
    },

    forget(): void {
      const { ws, sse, d } = kept
      kept = { d }
      if (ws || sse) write()
    },

    /** @returns true where negatives from another deployment have to be dropped. */
    metDeployment(deployment: string): boolean {
      const { d } = kept
      kept.d = deployment
      return d !== undefined && d !== deployment
    },
  }
}
