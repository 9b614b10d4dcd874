import type { Batch, Reset, ThroughlineEvent } from './protocol.js'

/** One thing for the application, in order. */
export type Delivery =
  | { readonly event: ThroughlineEvent; readonly reset?: undefined }
  | { readonly event?: undefined; readonly reset: Reset }

/** What one link has shown so far. */
interface Chain {
  /** The `after` that its next batch must carry; null before the first batch of a link opened without a cursor. */
  expected: string | null
  /** A stream opens with `hello`, which alone can carry a reset; nothing counts before it. */
  greeted: boolean
  /** Which history it was opened on. */
  history: number
  /** Verified, not yet delivered. */
  queue: Batch[]
}

/** Batches kept for a link that does not write; a link that exceeds it is dropped and reopened when needed. */
const QUEUE_MAX = 256

/**
 * One cursor over any number of overlapping links. Each link's batches form a chain that starts at or before the
 * session's cursor; only one link at a time, the writer, is drained. A chain that starts no later and has no
 * hole, together with dropping every seq already seen, makes changing the writer safe at any moment.
 */
export class Session {
  /** Everything up to here was delivered. Opaque: sent back as it came. */
  cursor: string | null
  private origin: string | null
  private lastSeq = -1
  private lastReset = ''
  private history = 0
  private readonly chains = new Map<number, Chain>()

  constructor(after: string | null) {
    this.cursor = after
    this.origin = after
  }

  /** A link was opened with this cursor (null: none, it will say where it starts). */
  begin(link: number, sent: string | null, stream: boolean): void {
    this.chains.set(link, { expected: sent, greeted: !stream, history: this.history, queue: [] })
  }

  /** The cursor that the link's next request has to carry. */
  position(link: number): string | null {
    return this.chains.get(link)?.expected ?? this.cursor
  }

  /**
   * False for a link opened before the history was reset over another one: it tells of the same loss once more,
   * and its numbers no longer compare. Reconnect it with {@link cursor}.
   */
  follows(link: number): boolean {
    const chain = this.chains.get(link)
    return chain === undefined || chain.history === this.history
  }

  end(link: number): void {
    this.chains.delete(link)
  }

  /**
   * Checks a batch against its link's chain and keeps it until the link is drained.
   * @returns false where the chain is broken: reconnect with {@link cursor}.
   */
  receive(link: number, batch: Batch, ephemeral: boolean): boolean {
    const chain = this.chains.get(link)
    if (!chain || chain.history !== this.history) return false
    if (batch.hello) chain.greeted = true
    const moved = batch.reset !== undefined && batch.reset.reason !== 'expired'
    const follows =
      chain.expected === null
        ? this.cursor === null || batch.after === this.cursor || batch.after === this.origin
        : batch.after === chain.expected
    if (!chain.greeted || !(follows || moved) || chain.queue.length >= QUEUE_MAX) return false
    chain.expected = batch.cursor
    const events = ephemeral ? batch.events : batch.events.filter((event) => event.seq !== undefined)
    chain.queue.push({ ...batch, events })
    return true
  }

  /** Takes what the link has for the application: each seq once, rising, or a reset. */
  drain(link: number): Delivery[] {
    const out: Delivery[] = []
    const chain = this.chains.get(link)
    for (const batch of chain?.queue.splice(0) ?? []) {
      this.origin ??= batch.after
      if (batch.reset && this.reset(batch, batch.reset, out) && chain) chain.history = this.history
      for (const event of batch.events) {
        if (event.seq !== undefined) {
          if (event.seq <= this.lastSeq) continue
          this.lastSeq = event.seq
        }
        out.push({ event })
      }
      this.cursor = batch.cursor
    }
    return out
  }

  /** Links that resumed from the same cursor report the same loss; the application hears of it once. */
  private reset(batch: Batch, reset: Reset, out: Delivery[]): boolean {
    const mark = `${reset.reason} ${batch.after} ${reset.topics.join()}`
    if (mark === this.lastReset) return false
    this.lastReset = mark
    out.push({ reset })
    if (reset.reason === 'expired') return false
    // Numbers may start lower in a history that lost its end.
    this.lastSeq = -1
    this.history += 1
    return true
  }
}
