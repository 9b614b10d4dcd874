// What this page knows about the log: which seqs exist, which lane has which of them, and which the
// gateway acknowledged to this page. An acknowledged seq that a lane's cursor has passed without
// delivering it is a hole, even if every batch of that lane looked right.

const ENTRIES_MAX = 600;

export class Ledger {
  constructor() {
    /** Ascending by seq; each entry is {seq, expected, delivered: {laneId: {transport, order}}}. */
    this.entries = [];
    this.newestSeq = 0;
  }

  /** Forgets everything: the log is another one, or its numbers may be given out again. */
  clear() {
    this.entries = [];
    this.newestSeq = 0;
  }

  deliver(seq, laneId, transport, shownAt) {
    const entry = this.entry(seq);
    if (entry) entry.delivered[laneId] = { transport, shownAt };
  }

  /** The gateway acknowledged `seq`, and every lane subscribes to its topic. */
  expect(seq) {
    const entry = this.entry(seq);
    if (entry) entry.expected = true;
  }

  /** Acknowledged seqs in (after, upTo] that the lane has not been given. */
  missing(laneId, after, upTo) {
    let missing = 0;
    for (let i = this.entries.length - 1; i >= 0 && this.entries[i].seq > after; i--) {
      const { seq, expected, delivered } = this.entries[i];
      if (seq <= upTo && expected && !delivered[laneId]) missing++;
    }
    return missing;
  }

  /** How many known events lie beyond `seq`; a plain difference where the ledger no longer reaches. */
  eventsBeyond(seq) {
    if (this.entries.length === 0 || seq < this.entries[0].seq - 1) return Math.max(0, this.newestSeq - seq);
    let count = 0;
    for (let i = this.entries.length - 1; i >= 0 && this.entries[i].seq > seq; i--) count++;
    return count;
  }

  entry(seq) {
    let i = this.entries.length;
    while (i > 0 && this.entries[i - 1].seq > seq) i--;
    if (i > 0 && this.entries[i - 1].seq === seq) return this.entries[i - 1];
    if (i === 0 && this.entries.length >= ENTRIES_MAX) return null;
    const entry = { seq, expected: false, delivered: {} };
    this.entries.splice(i, 0, entry);
    if (this.entries.length > ENTRIES_MAX) this.entries.shift();
    this.newestSeq = Math.max(this.newestSeq, seq);
    return entry;
  }
}
