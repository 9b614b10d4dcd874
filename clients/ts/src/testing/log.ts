import type { Reset, ThroughlineEvent } from '../core/protocol.js'

/** A log in memory, with cursors, a bounded history and epochs. */
export class FakeLog {
  epoch = 'e1'
  seq = 0
  /** Events below this are gone. */
  floor = 0
  readonly events: ThroughlineEvent[] = []
  /** The latest event of each key, by topic. */
  readonly states = new Map<string, Map<string, ThroughlineEvent>>()

  /** An event of one topic or of several. */
  append(
    to: string | readonly string[],
    type: string,
    data: unknown,
    time: string,
    id?: string,
    key?: string,
  ): ThroughlineEvent {
    this.seq += 1
    const topics = typeof to === 'string' ? [to] : to
    const [topic = ''] = topics
    const more = { ...(topics[1] && { topics }), ...(id && { id }), ...(key && { key }) }
    const event = { seq: this.seq, topic, type, time, data, ...more }
    if (key) {
      const keys = this.states.get(topic) ?? new Map<string, ThroughlineEvent>()
      keys.delete(key)
      if (data !== null) keys.set(key, event)
      this.states.set(topic, keys)
    }
    this.events.push(event)
    return event
  }

  /** The seq of a topic's last event, presence left out; 0: it has none. */
  last(topic: string): number {
    return this.retained(topic, 0).at(-1)?.seq ?? 0
  }

  /** What history lists of a topic. */
  retained(topic: string, from: number): ThroughlineEvent[] {
    const events = this.between(from, this.seq, new Set([topic]))
    return events.filter(({ type }) => !type.startsWith('presence.'))
  }

  get tail(): string {
    return `${this.epoch}.${this.seq}`
  }

  /** Forgets everything, as a restart without a disk does. */
  restart(epoch: string): void {
    this.epoch = epoch
    this.events.length = 0
    this.states.clear()
    this.floor = this.seq
  }

  /** Drops all but the newest events. */
  trim(keep: number): void {
    const gone = this.events.splice(0, Math.max(0, this.events.length - keep))
    this.floor = gone[gone.length - 1]?.seq ?? this.floor
  }

  /** Where a session that sent `after` goes on, and what it may have lost. */
  resume(after: string | null, topics: readonly string[]): { from: number; reset?: Reset } {
    if (after === null || after === 'latest') return { from: this.seq }
    if (after === 'earliest') return { from: this.floor }
    const dot = after.lastIndexOf('.')
    const seq = Number(after.slice(dot + 1))
    if (after.slice(0, dot) !== this.epoch) {
      return { from: this.floor, reset: { reason: 'epoch', topics, refetch_after_ms: 0 } }
    }
    if (seq > this.seq) return { from: this.seq, reset: { reason: 'ahead', topics, refetch_after_ms: 0 } }
    if (seq < this.floor) return { from: seq, reset: { reason: 'expired', topics, refetch_after_ms: 0 } }
    return { from: seq }
  }

  /** The events of these topics, as a session sees them that has the topics in this order. */
  between(from: number, to: number, topics: ReadonlySet<string>): ThroughlineEvent[] {
    return this.events.flatMap(({ topics: all, ...event }) => {
      const seen = [...topics].filter((topic) => (all ?? [event.topic]).includes(topic))
      const [topic] = seen
      if (!topic || event.seq === undefined || event.seq <= from || event.seq > to) return []
      return [{ ...event, topic, ...(seen.length > 1 && { topics: seen }) }]
    })
  }
}
