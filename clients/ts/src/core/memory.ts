import type { StorageLike } from './env.js'
import type { Transport } from './protocol.js'

interface Kept {
  /** The deployment that the negatives were learnt with. */
  d?: string
  /** Transport to the wall-clock time until which it is not worth trying. */
  n: Partial<Record<Transport, number>>
}

/**
 * What a page remembers for the next one: only which transports do not work here, and only for a while.
 * Storage may be absent, full or forbidden; then nothing is remembered.
 */
export class Memory {
  private kept: Kept = { n: {} }

  constructor(
    private readonly storage: StorageLike | null,
    private readonly key: string,
  ) {
    try {
      const kept = JSON.parse(storage?.getItem(key) ?? '') as Kept
      if (typeof kept.n === 'object' && kept.n) this.kept = kept
    } catch {
      // Nothing kept, nothing readable: start fresh.
    }
  }

  /** The negatives that still hold. A time further away than `maxMs` was written by a wrong clock. */
  negatives(now: number, maxMs: number): { transport: Transport; until: number }[] {
    return (['ws', 'sse'] as const).flatMap((transport) => {
      const until = this.kept.n[transport] ?? 0
      return until > now && until <= now + maxMs ? [{ transport, until }] : []
    })
  }

  remember(transport: Transport, until: number): void {
    this.kept.n[transport] = until
    this.write()
  }

  forget(): void {
    if (Object.keys(this.kept.n).length === 0) return
    this.kept.n = {}
    this.write()
  }

  /** @returns true where negatives from another deployment have to be dropped. */
  metDeployment(deployment: string): boolean {
    const changed = this.kept.d !== undefined && this.kept.d !== deployment
    this.kept.d = deployment
    return changed
  }

  private write(): void {
    try {
      this.storage?.setItem(this.key, JSON.stringify(this.kept))
    } catch {
      // A full or forbidden storage only costs a slower start.
    }
  }
}
