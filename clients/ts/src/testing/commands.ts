import type { Refusal, ReplyError } from '../core/protocol.js'

/** What a client sends, as far as the fake gateway reads it. */
export interface FakeCommand {
  readonly id?: string
  readonly op: string
  readonly topic?: string
  readonly topics?: readonly string[]
  readonly status?: string
  readonly type?: string
  readonly data?: unknown
  readonly ephemeral?: boolean
  readonly expect?: number
  readonly event_id?: string
  readonly token?: string
}

type Outcome = { readonly ok: object } | { readonly error: ReplyError }

/** The rules of a gateway for topics and commands: grants, limits, members. */
export class FakeRules {
  /** Topics that the grant does not allow. */
  readonly forbidden = new Set<string>()
  /** Topics of a session, its own two included. */
  maxTopics = 64
  /** Present members' status by topic: of one user. */
  readonly members = new Map<string, string>()
  private perMinute = Infinity
  private burst = Infinity
  private left = Infinity
  private at = 0

  constructor(private readonly now: () => number) {}

  /** From now on at most so many commands, publishing aside. */
  limit(perMinute: number, burst: number): void {
    this.perMinute = perMinute
    this.burst = this.left = burst
    this.at = this.now()
  }

  /** Which of the topics that were asked for a session gets, and which not. */
  admit(user: string, asked: readonly string[]): { topics: Set<string>; refused: Refusal[] } {
    const topics = new Set([`user:${user}`, 'all'])
    const refused: Refusal[] = []
    for (const topic of asked) {
      if (this.forbidden.has(topic)) refused.push({ topic, code: 'forbidden' })
      else if (topics.size >= this.maxTopics && !topics.has(topic)) refused.push({ topic, code: 'too_many_topics' })
      else topics.add(topic)
    }
    return { topics, refused }
  }

  /** Carries out a command of a session with these topics. */
  execute({ op, topic = '', topics = [], status = '' }: FakeCommand, session: Set<string>): Outcome {
    if (op === 'ping') return { ok: { time: new Date(this.now()).toISOString() } }
    if (op !== 'publish' && op !== 'auth' && !this.spend()) {
      const retry_after_ms = Math.ceil(((1 - this.left) * 60_000) / this.perMinute)
      return { error: { code: 'rate_limited', message: 'too often', retry_after_ms } }
    }
    if ([topic, ...(op === 'unsubscribe' ? [] : topics)].some((name) => this.forbidden.has(name))) {
      return { error: { code: 'forbidden', message: 'the grant does not allow it' } }
    }
    if (op === 'subscribe') {
      if (new Set([...session, ...topics]).size > this.maxTopics) {
        return { error: { code: 'bad_request', message: `more than ${this.maxTopics} topics` } }
      }
      for (const name of topics) session.add(name)
    }
    if (op === 'unsubscribe') {
      if (topics.some((name) => name === 'all' || name.startsWith('user:'))) {
        return { error: { code: 'bad_request', message: 'every session has these' } }
      }
      for (const name of topics) {
        session.delete(name)
        this.members.delete(name)
      }
    }
    if (op === 'presence') {
      if (status === 'offline') this.members.delete(topic)
      else this.members.set(topic, status)
    }
    return { ok: {} }
  }

  private spend(): boolean {
    const now = this.now()
    this.left = Math.min(this.burst, this.left + ((now - this.at) * this.perMinute) / 60_000 || this.left)
    this.at = now
    if (this.left < 1) return false
    this.left -= 1
    return true
  }
}
