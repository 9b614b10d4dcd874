import type { Batch, Reset, ThroughlineEvent } from './protocol.js'

/** One thing for the application: an event or a reset. */
export type Delivery = ThroughlineEvent | { readonly reset: Reset }

/** What one link has shown so far. */
export interface Chain {
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
  private origin: string | null
  private lastSeq = -1
  private lastReset = ''
  private history = 0

  /** @param cursor everything up to here was delivered. Opaque: sent back as it came. */
  constructor(public cursor: string | null) {
    this.origin = cursor
  }

  /** A link is opened with this session's cursor; without one it will say where it starts. */
  begin(stream: boolean): Chain {
    return { expected: this.cursor, greeted: !stream, history: this.history, queue: [] }
  }

  /**
   * Checks a batch against its link's chain and keeps it until the link is drained.
   * @param ephemeral whether events without a number are taken.
   * @returns false where the chain is broken: reconnect with {@link cursor}.
   */
  receive(chain: Chain, batch: Batch, ephemeral: boolean): boolean {
    const { after, cursor, reset } = batch
    const { expected, queue } = chain
    chain.greeted ||= batch.hello !== undefined
    const follows =
      after === expected ||
      (reset && reset.reason !== 'expired') ||
      (expected === null && (this.cursor === null || after === this.cursor || after === this.origin))
    if (!(chain.greeted && follows && this.follows(chain)) || queue.length >= QUEUE_MAX) return false
    chain.expected = cursor
    queue.push(ephemeral ? batch : { ...batch, events: batch.events.filter((event) => event.seq) })
    return true
  }

  /**
   * False for a link opened before the history was reset over another one: it tells of the same loss once more,
   * and its numbers no longer compare. Reconnect it with {@link cursor}.
   */
  follows(chain: Chain): boolean {
    return chain.history === this.history
  }

  /** Takes what the link has for the application: each seq once, rising, or a reset. */
  drain(chain: Chain): Delivery[] {
    const out: Delivery[] = []
    for (const { after, cursor, reset, events } of chain.queue.splice(0)) {
      this.origin ??= after
      // Links that resumed from the same cursor report the same loss; the application hears of it once.
      const mark = reset ? `${reset.reason} ${after} ${reset.topics}` : this.lastReset
      if (reset && mark !== this.lastReset) {
        this.lastReset = mark
        out.push({ reset })
        if (reset.reason !== 'expired') {
          // Numbers may start lower in a history that lost its end.
          this.lastSeq = -1
          this.history += 1
          chain.history = this.history
        }
      }
      for (const event of events) {
        const { seq } = event
        if (seq === undefined || seq > this.lastSeq) out.push(event)
        if (seq !== undefined) this.lastSeq = Math.max(this.lastSeq, seq)
      }
      this.cursor = cursor
    }
    return out
  }
}
