import type { Batch, Reset, ThroughlineEvent } from './protocol.js'

/** One thing for the application: an event or a reset. */
export type Delivery = ThroughlineEvent | { readonly reset: Reset }

/** What one link has shown so far. */
export interface Chain {
  /**
   * The `after` that its next batch must carry; null before the first batch of a link opened
   * without a cursor.
   */
  expected: string | null
  /** A stream opens with `hello`, which alone can carry a reset; nothing counts before it. */
  greeted: boolean
  /** Which history it was opened on. */
  history: number
  /** Verified, not yet delivered. */
  queue: Batch[]
}

/**
 * Batches kept for a link that does not write; a link that exceeds it is dropped and reopened when
 * needed.
 */
const QUEUE_MAX = 256

/**
 * One cursor over any number of overlapping links. Each link's batches form a chain that starts at
 * or before the session's cursor; only one link at a time, the writer, is drained. A chain that
 * starts no later and has no hole, together with dropping every seq already seen, makes changing
 * the writer safe at any moment.
 */
// Its inner functions share the state of one session.
export function createSession(cursor: string | null) {
  let origin = cursor
  let lastSeq = -1
  let lastReset = ''
  let history = 0

  const session = {
    /** Everything up to here was delivered. Opaque: sent back as it came. */
    cursor,

    /** Its name, as the latest `hello` gave it. */
    id: '',

    /**
     * Goes on from a place that was reached by other means than a link of its own. No link may be
     * open.
     */
    adopt(at: string): void {
      session.cursor = at
      lastSeq = -1
      lastReset = ''
    },

    /**
     * False for a link opened before the history was reset over another one: it tells of the same
     * loss once more, and its numbers no longer compare. Reconnect it with the cursor.
     */
    follows: (chain: Chain): boolean => chain.history === history,

    /** A link is opened with this session's cursor; without one it will say where it starts. */
    begin: (stream: boolean): Chain => ({ expected: session.cursor, greeted: !stream, history, queue: [] }),

    /**
     * Checks a batch against its link's chain and keeps it until the link is drained.
     * @param ephemeral whether events without a number are taken.
     * @returns false where the chain is broken: reconnect with the cursor.
     */
    receive(chain: Chain, batch: Batch, ephemeral: boolean): boolean {
      const { after, reset, events } = batch
      const { expected, queue } = chain
      const { cursor } = session
      chain.greeted ||= !!batch.hello
      const continues =
        after === expected ||
        (reset && reset.reason !== 'expired') ||
        (expected === null && (cursor === null || after === cursor || after === origin))
      if (!(chain.greeted && continues && session.follows(chain)) || queue.length >= QUEUE_MAX) return false
      chain.expected = batch.cursor
      queue.push(ephemeral ? batch : { ...batch, events: events.filter((event) => event.seq) })
      return true
    },

    /** Takes what the link has for the application: each seq once, rising, or a reset. */
    drain(chain: Chain): Delivery[] {
      const out: Delivery[] = []
      for (const { after, reset, events, cursor } of chain.queue.splice(0)) {
        origin ??= after
        // Links that resumed from the same cursor report the same loss; the application hears of it
        // once.
        const mark = reset && `${reset.reason} ${after} ${reset.topics}`
        if (mark && mark !== lastReset) {
          lastReset = mark
          out.push({ reset })
          if (reset.reason !== 'expired') {
            // Numbers may start lower in a history that lost its end.
            lastSeq = -1
            history += 1
            chain.history = history
          }
        }
        for (const event of events) {
          const { seq } = event
          if (seq === undefined || seq > lastSeq) {
            out.push(event)
            lastSeq = seq ?? lastSeq
          }
        }
        session.cursor = cursor
      }
      return out
    },
  }
  return session
}

/** What {@link createSession} makes. */
export type Session = ReturnType<typeof createSession>
