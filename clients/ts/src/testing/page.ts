import type { PageLike, PageSignal, StorageLike } from '../core/env.js'

/** A page whose life the test decides. */
export class FakePage implements PageLike {
  private shown = true
  private connected = true
  private readonly listeners = new Set<(signal: PageSignal) => void>()

  visible(): boolean {
    return this.shown
  }

  online(): boolean {
    return this.connected
  }

  listen(signal: (signal: PageSignal) => void): () => void {
    this.listeners.add(signal)
    return () => this.listeners.delete(signal)
  }

  /** Makes something happen to the page. */
  signal(signal: PageSignal): void {
    if (signal === 'hidden' || signal === 'visible') this.shown = signal === 'visible'
    if (signal === 'online' || signal === 'offline') this.connected = signal === 'online'
    for (const listener of [...this.listeners]) listener(signal)
  }
}

/** Storage in memory. */
export class FakeStorage implements StorageLike {
  readonly items = new Map<string, string>()

  getItem(key: string): string | null {
    return this.items.get(key) ?? null
  }

  setItem(key: string, value: string): void {
    this.items.set(key, value)
  }
}
