import type { StorageLike } from './env.js'
import type { Transport } from './protocol.js'

/** Transport to the wall-clock time until which it is not worth trying, and `d`: the deployment it was learnt with. */
type Kept = Partial<Record<Transport, number>> & { d?: string }

/**
 * What a page remembers for the next one: only which transports do not work here, and only for a while.
 * Storage may be absent, full or forbidden; then nothing is remembered.
 */
export class Memory {
  private kept: Kept = {}

  constructor(
    private readonly storage: StorageLike | null,
    private readonly key: string,
  ) {
    try {
      this.kept = { ...(JSON.parse(storage?.getItem(key) as string) as Kept | null) }
    } catch {
      // Nothing readable: start fresh.
    }
  }

  /** Until when the transport is not worth trying. A time further away than `maxMs` was written by a wrong clock. */
  blockedUntil(transport: Transport, now: number, maxMs: number): number {
    const until = Number(this.kept[transport])
    return until <= now + maxMs ? until : 0
  }

  remember(transport: Transport, until: number): void {
    this.kept[transport] = until
    this.write()
  }

  forget(): void {
    const { ws, sse, d } = this.kept
    this.kept = { d }
    if (ws || sse) this.write()
  }

  /** @returns true where negatives from another deployment have to be dropped. */
  metDeployment(deployment: string): boolean {
    const { d } = this.kept
    this.kept.d = deployment
    return d !== undefined && d !== deployment
  }

  private write(): void {
    try {
      this.storage?.setItem(this.key, JSON.stringify(this.kept))
    } catch {
      // A full or forbidden storage only costs a slower start.
    }
  }
}
