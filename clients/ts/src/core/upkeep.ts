import type { Carrier } from './carrier.js'
import type { Command, CommandError } from './commands.js'
import type { Env } from './env.js'
import type { Hello, Reply } from './protocol.js'
import type { Wishes } from './wishes.js'

/** After a command without a reply, and the least wait after a refusal by rate. */
const AGAIN_MS = 1000
const AGAIN_MAX_MS = 60_000

/** What keeping the gateway in line needs of the connection. */
export interface UpkeepHost {
  readonly env: Env
  readonly wishes: Wishes
  /** Topics that this session cannot have, with the reason. */
  readonly refused: Map<string, string>
  /** What the gateway said of this session. */
  hello(): Hello | null
  readonly ladder: { readonly started?: boolean; readonly writer: { readonly carrier?: Carrier } | null }
  command(command: Command): Promise<unknown>
  /** What counts as the answer where there is none. */
  unheard(message: string): Reply
  /** @throws CommandError for an error reply. */
  result(reply: Reply): unknown
  /** A topic is refused. */
  refuse(topic: string, error: CommandError): void
}

/** One command that brings the gateway closer to what is wanted. */
interface Step {
  readonly command: Command
  done(): void
  /** The gateway refuses for good. */
  refused(error: CommandError): void
  /** There was no reply: the gateway may have carried it out. */
  lost?(): void
}

interface Waiter {
  readonly topic: string
  settle(reply: Reply | Promise<never>): void
}

/**
 * Brings what the gateway has of this client in line with what is wanted, one command at a time:
 * what happens while a command is under way is one command afterwards. Nothing counts as had before
 * the gateway has agreed. A refusal by rate and a lost reply are tried again, other refusals are
 * not, until something changes.
 */
// Its inner functions share the state of one session.
export function createUpkeep(host: UpkeepHost) {
  const { env, wishes, refused } = host
  /** Presence that the gateway has agreed to, and what it refused: as JSON, by topic. */
  const told = new Map<string, string>()
  const barred = new Map<string, { text: string; error: CommandError }>()
  /** Topics that the gateway may have agreed to: the reply was lost. */
  const doubtful = new WeakMap<Carrier, Set<string>>()
  let waiters: Waiter[] = []
  let running = false
  /** How many topics the next `subscribe` may name: one refused topic spoils the whole command. */
  let most = Infinity

  /** What runs for the link in use. */
  const inUse = (): Carrier | undefined => host.ladder.writer?.carrier

  const wantedPresence = (topic: string): string | undefined => {
    const wanted = wishes.present().get(topic)
    return wanted && JSON.stringify(wanted)
  }

  function leave(carrier: Carrier, topics: readonly string[]): Step {
    const done = (): void => {
      carrier.topics = carrier.topics.filter((topic) => !topics.includes(topic))
      for (const topic of topics) doubtful.get(carrier)?.delete(topic)
      for (const topic of topics) told.delete(topic) // Its members leave with the subscription.
      // There may be room now for what was too much.
      for (const [topic, code] of refused) if (code !== 'forbidden') refused.delete(topic)
    }
    return { command: { op: 'unsubscribe', topics }, done, refused: done }
  }

  function enter(carrier: Carrier, topics: readonly string[]): Step {
    return {
      command: { op: 'subscribe', topics },
      done() {
        carrier.topics = [...carrier.topics, ...topics]
        most *= 2
      },
      refused(error) {
        const [topic] = topics
        if (topics.length > 1) most = topics.length >> 1
        else if (topic) host.refuse(topic, error)
      },
      lost() {
        doubtful.set(carrier, new Set([...(doubtful.get(carrier) ?? []), ...topics]))
      },
    }
  }

  function attend(topic: string, text: string | undefined): Step {
    const presence = text ? (JSON.parse(text) as object) : { status: 'offline' }
    return {
      command: { op: 'presence', topic, ...presence },
      done() {
        if (text) told.set(topic, text)
        else told.delete(topic)
      },
      refused(error) {
        if (text) barred.set(topic, { text, error })
        else told.delete(topic)
      },
    }
  }

  function next(carrier: Carrier): Step | undefined {
    // Those that every session of this user has.
    const implied = host.hello()?.topics.slice(0, 2) ?? []
    const wanted = wishes.topics().filter((topic) => !implied.includes(topic))
    if (carrier.link.send) {
      const had = new Set([...carrier.topics, ...(doubtful.get(carrier) ?? [])])
      const extra = [...had].filter((topic) => ![...wanted, ...implied].includes(topic))
      if (extra.length) return leave(carrier, extra)
      const missing = wanted.filter((topic) => ![...carrier.topics, ...refused.keys()].includes(topic))
      if (missing.length) return enter(carrier, missing.slice(0, most))
    }
    for (const topic of [...told.keys(), ...wishes.present().keys()]) {
      const text = wantedPresence(topic)
      if (text !== told.get(topic) && !(text && barred.get(topic)?.text === text)) return attend(topic, text)
    }
    return undefined
  }

  async function take(carrier: Carrier, { command, done, refused, lost }: Step): Promise<void> {
    try {
      await host.command(command)
      done()
    } catch (failure) {
      const error = failure as CommandError
      const { code, retryAfterMs = 0 } = error
      if (code !== 'rate_limited' && code !== 'unavailable') return refused(error)
      if (code === 'unavailable') lost?.()
      // A link that is gone has its answer in the next one.
      if (inUse() !== carrier) return
      const ms = Math.min(Math.max(retryAfterMs, AGAIN_MS), AGAIN_MAX_MS)
      await new Promise<void>((resolve) => void env.setTimeout(resolve, ms))
    }
  }

  /** Answers those whose topic is in line. */
  function answer(): void {
    waiters = waiters.filter(({ topic, settle }) => {
      const text = wantedPresence(topic)
      const no = barred.get(topic)
      if (no && no.text === text) settle(Promise.reject(no.error))
      else if (told.get(topic) === text) settle({ ok: {} })
      else return true
      return false
    })
  }

  const upkeep = {
    /**
     * Looks for what is not in line; calls while it is at work are covered by the one that runs.
     */
    async run(): Promise<void> {
      if (running) return
      running = true
      try {
        for (;;) {
          const carrier = inUse()
          const step = carrier && next(carrier)
          answer()
          if (!step) break
          await take(carrier, step)
        }
      } finally {
        running = false
      }
    },

    /** A new session knows nothing of where this user said to be, and may allow something else. */
    renew(): void {
      told.clear()
      barred.clear()
      most = Infinity
    },

    /**
     * Resolves when the gateway has this client's presence in the topic as it is wanted.
     * @throws CommandError
     */
    settled(topic: string): Promise<unknown> {
      const answer = new Promise<Reply>((settle) => waiters.push({ topic, settle }))
      // Closed while this part was being loaded.
      if (host.ladder.started) void upkeep.run()
      else upkeep.end()
      return answer.then(host.result)
    },

    /** The connection has ended: nothing will be in line any more. */
    end(): void {
      for (const { settle } of waiters.splice(0)) settle(host.unheard('closed'))
    },
  }
  return upkeep
}

/** What {@link createUpkeep} makes. */
export type Upkeep = ReturnType<typeof createUpkeep>
