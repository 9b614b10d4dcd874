interface Timer {
  readonly at: number
  readonly order: number
  readonly run: () => void
}

/** Lets everything that waits on settled promises run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 40; turn += 1) await Promise.resolve()
}

/** A clock that moves only when told to. */
export class FakeClock {
  private time: number
  private order = 0
  private readonly timers = new Map<number, Timer>()

  /** @param start milliseconds since 1970. */
  constructor(start = Date.UTC(2026, 10, 20)) {
    this.time = start
  }

  readonly now = (): number => this.time

  readonly setTimeout = (run: () => void, ms: number): unknown => {
    this.order += 1
    this.timers.set(this.order, { at: this.time + Math.max(0, ms), order: this.order, run })
    return this.order
  }

  readonly clearTimeout = (timer: unknown): void => {
    this.timers.delete(timer as number)
  }

  /** Moves forward, running every timer in its turn. */
  async advance(ms: number): Promise<void> {
    const until = this.time + ms
    await settle()
    for (;;) {
      const next = this.next()
      if (!next || next.at > until) break
      this.time = Math.max(this.time, next.at)
      this.timers.delete(next.order)
      next.run()
      await settle()
    }
    this.time = until
    await settle()
  }

  /** Jumps forward as a machine that slept does: timers fire late, all at once. */
  async sleep(ms: number): Promise<void> {
    this.time += ms
    await this.advance(0)
  }

  private next(): Timer | null {
    let first: Timer | null = null
    for (const timer of this.timers.values()) {
      if (!first || timer.at < first.at || (timer.at === first.at && timer.order < first.order)) first = timer
    }
    return first
  }
}

/** A repeatable stream of numbers in [0, 1) (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
