import type { Command } from './commands.js'
import type { Env } from './env.js'
import type { Ladder } from './ladder.js'
import type { OpenLink, Params } from './link.js'
import { openPoll } from './poll.js'
import type { Batch, ThroughlineEvent } from './protocol.js'
import { createRenewal, type RenewalHost } from './renewal.js'
import { explain, look, members, post, type RequestHost, retained, whose } from './requests.js'
import { createSlot } from './slots.js'
import { openSse } from './sse.js'
import { createUpkeep, type UpkeepHost } from './upkeep.js'
import { sameTopics } from './wishes.js'

/** What this part needs of the connection that loads it. */
export interface LazyHost extends RequestHost, RenewalHost, UpkeepHost {
  readonly env: Env
  readonly base: string
  readonly transports: readonly string[]
  readonly ladder: Ladder
  dispatch(input: () => void): void
}

/**
 * What a page that listens over a WebSocket can do without: event streams and polls, requests beside the links, and
 * changes of topics, presence and token. It is loaded beside the first WebSocket, while the network works.
 */
export function createLazy(host: LazyHost) {
  const { env, base, wishes, ladder, transports, dispatch } = host
  const slot = createSlot(env, base)
  const { run, renew, settled, end } = createUpkeep(host)

  /** Brings what the gateway has in line with what is wanted now: in band, or by what links are opened with. */
  function sync(): void {
    const { writer, links } = ladder
    const { carrier } = writer ?? {}
    if (!writer || !carrier) return
    const { link } = carrier
    const differ = !sameTopics(wishes.topics(), carrier.topics)
    if (differ && link.again) {
      carrier.topics = wishes.topics()
      link.again()
    } else if (differ && !link.send) {
      // One that is on its way is looked at when it is in use: they would never arrive if each change began anew.
      const coming = writer.leaving && links.some((link) => link !== writer && !link.provenAt)
      if (!coming) dispatch(ladder.reopen)
    }
    void run()
  }

  function renewed(): void {
    renew()
    sync()
  }

  return {
    sync,
    renew,
    settled,
    end,
    renewToken: createRenewal(host, renewed),

    /** How to open an event stream or polls; undefined: other pages of the origin hold as many requests as may be. */
    async opener(isPoll: boolean): Promise<OpenLink | undefined> {
      if (isPoll) return (request, events) => openPoll(request, events, slot.take)
      // Where there is nothing else, a stream waits in the browser's queue for its turn.
      return !transports.includes('poll') || (await slot.take()) ? openSse : undefined
    },
    /** No request is held any more. */
    free: slot.free,

    post: (command: Command) => post(host, command),
    explain: () => explain(host),
    whose: () => whose(host),
    look: (params: Params) => look(host, params),
    members: (topic: string) => members(host, topic),
    retained: (
      topic: string,
      after: string,
      decoded: (event: ThroughlineEvent) => ThroughlineEvent[],
    ): Promise<Batch> => retained(host, topic, after, decoded),
  }
}

/** What {@link createLazy} makes. */
export type Lazy = ReturnType<typeof createLazy>
