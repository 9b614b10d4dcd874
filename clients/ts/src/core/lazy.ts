import type { Close } from './close.js'
import type { Command } from './commands.js'
import type { Env } from './env.js'
import type { Ladder } from './ladder.js'
import type { LinkState } from './ladder-types.js'
import type { OpenLink, Params } from './link.js'
import type { ClientOptions } from './options.js'
import { openPoll, type PollHost } from './poll.js'
import type { Batch, Hello, ThroughlineEvent } from './protocol.js'
import { createRefusals, type RefusalsHost } from './refusals.js'
import { createRenewal, type RenewalHost } from './renewal.js'
import { explain, leave, look, members, post, type RequestHost, retained, stateOf, whose } from './requests.js'
import { createSlot } from './slots.js'
import { openSse } from './sse.js'
import { createUpkeep, type UpkeepHost } from './upkeep.js'

/** What this part needs of the connection that loads it. */
export interface LazyHost extends RequestHost, RenewalHost, RefusalsHost, Omit<UpkeepHost, 'refuse'> {
  readonly env: Env
  readonly base: string
  readonly options: ClientOptions
  readonly ladder: Ladder
  dispatch(input: () => void): void
  /** True where the link in use has other topics than are wanted. */
  differs(): boolean
}

/**
 * What a page that listens over a WebSocket can do without: event streams and polls, requests
 * beside the links, and changes of topics, presence and token. It is loaded beside the first
 * WebSocket, while the network works.
 */
// Its inner functions share the state of one connection.
export function createLazy(host: LazyHost) {
  const { env, base, options, wishes, ladder, tokens, hello, dispatch } = host
  /** The token with which the gateway said whom it takes this client for. */
  let vouched: string | null = null
  /** Links that hold requests, or are about to. */
  const held = new WeakSet<LinkState>()
  const slot = createSlot(env, base)
  const { heed, refuse } = createRefusals(host)
  const { run, renew, settled, end } = createUpkeep({ ...host, refuse })

  /**
   * Brings what the gateway has in line with what is wanted now: in band, or by what links are
   * opened with.
   */
  function sync(): void {
    const { writer, links } = ladder
    const { carrier } = writer ?? {}
    if (!writer || !carrier) return
    const { link } = carrier
    const differ = host.differs()
    if (differ && link.again) {
      carrier.topics = wishes.topics()
      link.again()
    } else if (differ && !link.send) {
      // One that is on its way is looked at when it is in use: they would never arrive if each
      // change began anew.
      const coming = writer.leaving && links.some((link) => link !== writer && !link.provenAt)
      if (!coming) dispatch(ladder.reopen)
    }
    void run()
  }

  /** A cookie may be another user's by now, and so may a token that was asked for anew. */
  function doubts({ hello, events }: Partial<Batch>): boolean {
    const isVouched = host.hello() && tokens.current && tokens.current === vouched
    return !hello && !options.user && !!events?.length && !isVouched
  }

  /** A poll asked whose its answers are. */
  function named({ carrier }: LinkState, now: Hello | undefined): void {
    vouched = tokens.current
    if (carrier && now?.user !== (carrier.hello ?? hello())?.user) carrier.hello = now
  }

  /**
   * @param isFirst the first words of its link: a new start in place does not say again what was
   * refused.
   */
  function greeted(isFirst: boolean): void {
    vouched = tokens.current
    if (isFirst) heed(hello()?.refused)
    renew()
  }

  function renewed(): void {
    renew()
    sync()
  }

  // What came before this part did.
  if (hello()) greeted(true)
  sync()

  return {
    sync,
    greeted,
    renew,
    settled,
    end,
    renewToken: createRenewal(host, renewed),

    /**
     * How to open an event stream or polls; undefined: other pages of the origin hold as many
     * requests as may be.
     */
    async opener(state: LinkState, isPoll: boolean): Promise<OpenLink | undefined> {
      held.add(state)
      const pollHost: PollHost = {
        hold: slot.take,
        doubts,
        greeted: (hello) => named(state, hello),
        taken({ hello, refused }) {
          if (!hello && ladder.writer === state) heed(refused)
        },
      }
      if (isPoll) return (request, events) => openPoll(request, events, pollHost)
      // Where there is nothing else, a stream waits in the browser's queue for its turn.
      const { transports = ['poll'] } = options
      return !transports.includes('poll') || (await slot.take()) ? openSse : undefined
    },
    /** A link has ended: without others the place of its requests is for another page. */
    ended(state: LinkState): void {
      if (!ladder.links.some((link) => link !== state && held.has(link))) slot.free()
    },

    post: (command: Command) => post(host, command),
    explain: (close: Close) => explain(host, close),
    leave: () => leave(host),
    whose: () => whose(host),
    look: (params: Params) => look(host, params),
    members: (topic: string) => members(host, topic),
    retained: (
      topic: string,
      after: string,
      decoded: (event: ThroughlineEvent) => ThroughlineEvent[],
    ): Promise<Batch> => retained(host, topic, after, decoded),
    state: (topic: string, decoded: (event: ThroughlineEvent) => ThroughlineEvent[]) => stateOf(host, topic, decoded),
  }
}

/** What {@link createLazy} makes. */
export type Lazy = ReturnType<typeof createLazy>
