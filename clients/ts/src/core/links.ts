import type { Carrier } from './carrier.js'
import type { Close } from './close.js'
import { unheard } from './commands.js'
import type { Env } from './env.js'
import type { Ladder } from './ladder.js'
import type { LinkState } from './ladder-types.js'
import type { Lazy } from './lazy.js'
import type { LinkRequest, OpenLink, Params } from './link.js'
import type { Memory } from './memory.js'
import type { ClientOptions } from './options.js'
import { type Batch, isBatch, isReply } from './protocol.js'
import { POLL, WS } from './rung.js'
import type { Chain, Session } from './session.js'
import type { Timing } from './timing.js'
import type { Tokens } from './token.js'
import type { Wishes } from './wishes.js'
import { openWs } from './ws.js'

/**
 * The close code for a message that somebody on the path found too large, and what is asked for
 * then.
 */
const TOO_LARGE = 1009
const SMALL_BYTES = 8192
/** Another link has moved on from where this one started. */
export const GAP: Close = { kind: 'gap', message: 'gap' }

/** What links need of their connection. */
export interface LinksHost {
  readonly env: Env
  readonly options: ClientOptions
  readonly timing: Timing
  readonly tokens: Tokens
  readonly session: Session
  readonly memory: Memory
  readonly ladder: Ladder
  readonly wishes: Wishes
  address(path: string, params: Params): string
  init(signal?: AbortSignal): RequestInit
  dispatch(input: () => void): void
  /** What is loaded beside the first WebSocket. @throws CommandError */
  load(): Promise<Lazy>
  /** The same, if it is there. */
  loaded(): Lazy | undefined
  /** The next link begins another session. */
  rename(): void
  /** Measures the way to the gateway and back where that is due. */
  measure(state: LinkState): void
}

/** Opens and closes the links that the ladder asks for, and takes what they bring. */
// Its inner functions share the links of one connection: a class would only spell each of them
// `this.`.
export function createLinks(host: LinksHost) {
  const { env, options, timing, tokens, session, memory, ladder, wishes, dispatch } = host
  const { after, types, interval, transports } = options
  /** The most bytes that a message may have, where the path has refused a larger one. */
  let batch: number | undefined

  function open(state: LinkState, pad: boolean): void {
    const { rung } = state
    const ended = (close: Close): void => {
      if (close.kind === 'auth' && ladder.links.includes(state)) tokens.want('refused')
      dispatch(() => ladder.closed(state, close))
    }
    const closed = (close: Close): void => {
      if (close.code === TOO_LARGE) batch = SMALL_BYTES
      const lazy = host.loaded()
      // The refusal of a handshake cannot be read, but that of another transport can: where there
      // is none, one is asked.
      if (!lazy || rung < WS || state.openedAt || transports?.length !== 1) ended(close)
      else lazy.explain(close).then(ended)
    }
    const failed = (error: unknown): void => closed({ kind: 'lost', message: `${error}` })
    const prepare = async (): Promise<void> => {
      const openLink = rung === WS ? openWs : await (await host.load()).opener(state, rung === POLL)
      if (openLink) connect(state, pad, openLink, closed)
      else closed({ kind: 'full', message: 'too many requests' })
    }
    // A moment later in any case: what is subscribed to in the same turn is asked for at once.
    tokens.get().then(
      () => prepare().catch(failed),
      (error) => closed({ kind: 'busy', message: `no token: ${error}` }),
    )
  }

  /**
   * @throws where there is no such transport, or where it is forbidden: a page over https may not
   * open ws:.
   */
  function connect(state: LinkState, pad: boolean, openLink: OpenLink, closed: (close: Close) => void): void {
    const current = (): boolean => ladder.links.includes(state)
    if (!current()) return
    dispatch(() => ladder.asked(state))
    const chain = session.begin(state.rung !== POLL)
    const request: LinkRequest = {
      env,
      timing,
      pad,
      tokens,
      address: (path, more) => host.address(path, { ...params(state, chain), ...more }),
      init: host.init,
    }
    const link = openLink(request, {
      heard: (owes) => current() && dispatch(() => ladder.heard(state, owes)),
      message: (text) => current() && message(state, text, closed),
      closed,
    })
    state.carrier = { link, chain, topics: wishes.topics(), waiting: new Map() }
  }

  /** What a link is opened with, as of now. */
  function params(state: LinkState, chain: Chain): Params {
    return {
      after: chain.expected ?? session.cursor ?? (after === 'earliest' && after),
      topics: `${wishes.topics()}`,
      types: `${types ?? ''}`,
      interval,
      heartbeat: Math.ceil(state.heartbeatMs / 1000),
      batch: state.rung !== POLL && batch,
      // A link that claims the session ends the others of it 5 s later: not beside one that works.
      session: (ladder.links.length < 2 || state === ladder.writer) && session.id,
    }
  }

  function message(state: LinkState, text: string, closed: (close: Close) => void): void {
    const carrier = state.carrier as Carrier
    // biome-ignore lint/suspicious/noExplicitAny: whatever came; looked at below.
    let value: any
    try {
      value = JSON.parse(text)
    } catch {
      // Cut, or not from the gateway: handled below as not a batch.
    }
    if (isReply(value)) carrier.waiting.get(value.reply as string)?.(value)
    else if (!isBatch(value)) closed({ kind: 'lost', message: 'no batch' })
    // Ephemeral events have no number to tell a repetition by: only the link in use may bring them.
    else if (!session.receive(carrier.chain, value, ladder.writer === state || !ladder.writer?.provenAt)) closed(GAP)
    else take(state, carrier, value)
  }

  /** Does what a batch says beside its events. */
  function take(state: LinkState, carrier: Carrier, { hello, bye, events, expiring }: Batch): void {
    const isWriter = ladder.writer === state
    if (hello) {
      carrier.hello = hello
      state.heartbeatMs = hello.heartbeat_ms || state.heartbeatMs
      if (memory.metDeployment(hello.deployment)) dispatch(ladder.forget)
    }
    if (bye?.reason === 'expired_token') tokens.want('refused')
    // The gateway ended this session: the next link starts another.
    if (bye?.reason === 'replaced' && isWriter) host.rename()
    // An empty batch follows a burst within 250 ms, unless batches are spaced further than that
    // (PROTOCOL.md, T12).
    dispatch(() => ladder.batch(state, events.length > 0 && !interval, bye))
    if (expiring) host.loaded()?.renewToken()
    // Not before the proof: the reply would push out what a path that is one message behind holds
    // back.
    if (ladder.writer === state && state.provenAt && state.rung === WS) host.measure(state)
  }

  /** Closes a link for the ladder, and answers what waits on it. */
  function end(state: LinkState): void {
    const { carrier } = state
    carrier?.link.close()
    host.loaded()?.ended(state)
    for (const settle of carrier?.waiting.values() ?? []) settle(unheard('lost'))
  }

  return { open, end }
}
