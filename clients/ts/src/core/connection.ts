import type { Carrier } from './carrier.js'
import { type Command, result, unheard } from './commands.js'
import type { Env } from './env.js'
import { createInBand } from './in-band.js'
import { createLadder } from './ladder.js'
import type { LinkState } from './ladder-types.js'
import type { Lazy } from './lazy.js'
import type { Params } from './link.js'
import { createLinks, GAP } from './links.js'
import { guarded } from './listeners.js'
import { createMemory } from './memory.js'
import type { ClientError, ClientOptions } from './options.js'
import { part } from './part.js'
import { type Hello, isBatch, type Refusal } from './protocol.js'
import { NAMES, POLL } from './rung.js'
import { createSession, type Delivery } from './session.js'
import type { ConnectionState } from './state.js'
import { REPLY_MS, TIMING } from './timing.js'
import { createTokens } from './token.js'
import { sameTopics, type Wishes } from './wishes.js'

const PING_EVERY_MS = 30_000

/** What the connection tells its owner. */
export interface ConnectionEvents {
  /** Everything up to `cursor` is there. */
  drained(before: string | null, deliveries: readonly Delivery[], cursor: string): void
  /** The state is another one; a moving cursor alone is not told. */
  changed(): void
  hello(): void
  /** This session does not get a topic that it had, or had not been refused before. */
  refused(refusal: Refusal): void
}

/**
 * Does what the ladder decides: opens and closes links, keeps time, feeds the session, hands out
 * its deliveries.
 */
// Its inner functions share the state of one connection: a class would only spell each of them
// `this.`.
export function createConnection(options: ClientOptions, env: Env, wishes: Wishes, events: ConnectionEvents) {
  const { url = '', getToken, after, transports = NAMES, user, credentials } = options
  const timing = { ...TIMING, ...options.timing }
  // The address of a WebSocket stands for the gateway at it: the other transports have the same
  // place.
  const base = new URL(url.replace(/^ws/, 'http').replace(/\/*$/, '/'), env.origin ?? 'http://localhost').href
  const tokens = createTokens(getToken, env)
  const session = createSession(!after || after === 'latest' || after === 'earliest' ? null : after)
  const memory = createMemory(options.remember === false ? {} : env, `throughline:${base}`)
  const inbox: (() => void)[] = []
  /** Topics that this session cannot have, with the reason. */
  const refused = new Map<string, string>()
  let hello: Hello | null = null
  let latencyMs: number | null = null
  let error: ClientError | null = null
  let state: ConnectionState
  let shown = ''
  let stepping = false
  let timer: unknown
  let timerAt = Infinity
  let pingedAt = 0
  /** What the latest delivery came by. */
  let delivered: Carrier | undefined
  let lazy: Lazy | undefined
  let unlisten: (() => void) | undefined

  const ask = createInBand(env)
  const load = part(async () => {
    const { createLazy } = await import('./lazy.js')
    lazy = createLazy(connection)
    return lazy
  })
  const ladder = createLadder({
    transports,
    timing,
    random: env.random,
    canRefresh: !!getToken,
    memory,
    effects: {
      open: (link, pad) => links.open(link, pad),
      close: (link) => links.end(link),
      ping,
      report: guarded(options.telemetry),
    },
  })

  /** @param fresh the token has just been asked for. */
  function start(fresh = false): void {
    if (ladder.started) return
    hello = null
    if (!fresh) tokens.want('connect')
    unlisten = env.page.listen((signal) => {
      if (signal === 'pagehide') leave()
      dispatch(() => ladder.page(signal))
    })
    dispatch(() => ladder.start(env.page.visible(), env.page.online()))
  }

  function stop(): void {
    tokens.cancel()
    leave()
    dispatch(() => ladder.stop(null))
  }

  /** Ends this session at the gateway, as some proxies never do. */
  function leave(): void {
    if (!ladder.links.length) return
    lazy?.leave()
    rename()
  }

  /**
   * The next link begins another session. It has a name of this client's, because a poller may
   * never be told one.
   */
  function rename(): void {
    lazy?.renew()
    session.id = `${env.random()}${env.random()}`.replace(/\W/g, '')
  }

  /** Steps the ladder. Inputs that arrive while one is handled wait for their turn. */
  function dispatch(input: () => void): void {
    inbox.push(input)
    if (stepping) return
    stepping = true
    try {
      while (inbox.length) {
        ladder.step(env.now(), inbox.shift())
        deliver()
      }
    } finally {
      stepping = false
    }
    schedule()
    if (!ladder.started) {
      unlisten?.()
      lazy?.end()
    }
    show()
  }

  /**
   * Sends a command over the link in use, or over HTTP beside one that cannot.
   * @throws CommandError
   */
  async function command(command: Command): Promise<unknown> {
    const carrier = ladder.writer?.carrier
    if (!carrier) return result(unheard('no link'))
    return carrier.link.send ? ask(carrier, command) : (await load()).post(command)
  }

  /** An address under the base, with a query that no cache has seen. */
  function address(path: string, params: Params): string {
    const url = new URL(path, base)
    for (const [name, value] of Object.entries({ user, ...params, _: env.random() })) {
      if (value) url.searchParams.set(name, value as string)
    }
    return url.href
  }

  /** Options of every request. */
  function init(signal?: AbortSignal): RequestInit {
    const { current } = tokens
    const headers = current ? { authorization: `Bearer ${current}` } : undefined
    return { headers, cache: 'no-store', credentials, signal }
  }

  /** True where the link in use has other topics than are wanted. */
  function differs(): boolean {
    const { carrier } = ladder.writer ?? {}
    return !!carrier && !sameTopics(wishes.topics(), carrier.topics)
  }

  /** Brings what the gateway has in line with what is wanted now. */
  function sync(): void {
    if (lazy) lazy.sync()
    // It does so when it arrives. Topics can be had without it, by opening the link anew.
    else if (differs()) load().catch(() => differs() && dispatch(ladder.reopen))
  }

  /** Hands over what the link in use has brought. */
  function deliver(): void {
    const { writer } = ladder
    const carrier = writer?.carrier
    if (!carrier) return
    const isOther = carrier !== delivered
    const isGreeted = carrier.hello && carrier.hello !== hello
    delivered = carrier
    if (isGreeted) {
      hello = carrier.hello as Hello
      session.id = hello.session
      lazy?.greeted(isOther)
      events.hello()
    }
    // Wishes may have changed since the link was opened; a poll that goes on from a cursor has no
    // hello.
    if (isOther || isGreeted) sync()
    if (session.follows(carrier.chain)) {
      const before = session.cursor
      const deliveries = session.drain(carrier.chain)
      const { cursor } = session
      if (cursor !== null && (cursor !== before || deliveries.length)) events.drained(before, deliveries, cursor)
    } else dispatch(() => ladder.closed(writer, GAP))
  }

  /** Something was refused and the connection goes on: that shows in the state. */
  function fault(message: string): void {
    error = { message, fatal: false }
    show()
  }

  function measure(link: LinkState): void {
    if (latencyMs === null || env.now() - pingedAt >= PING_EVERY_MS) ping(link)
  }

  function ping({ carrier, rung }: LinkState): void {
    if (rung === POLL) return carrier?.link.again?.()
    const sentAt = env.now()
    pingedAt = sentAt
    ask(carrier as Carrier, { op: 'ping' }).then(
      () => {
        latencyMs = env.now() - sentAt
        show()
      },
      () => {}, // The ladder judges by any byte, not by this reply.
    )
  }

  function schedule(): void {
    const at = ladder.wakeAt
    // A timer that fires early costs one step; setting it anew for every message costs more.
    if (at >= timerAt && timerAt > env.now()) return
    env.clearTimeout(timer)
    timerAt = at
    if (at === Infinity) return
    const fire = (): void => {
      timerAt = Infinity
      dispatch(() => {})
    }
    timer = env.setTimeout(fire, Math.max(0, at - env.now()))
  }

  function show(): void {
    const { phase, retryCount, retryAt, lastClose, started, writer } = ladder
    const transport = (writer?.provenAt && NAMES[writer.rung]) || null
    if (!transport) error = lastClose && { code: lastClose.code, message: lastClose.message, fatal: !started }
    // What was lost before the link is in use is over; what was refused since then is not.
    else if (!state.transport) error = null
    // From the first link on, and again where that failed: when it is needed may be too late to
    // load it.
    if (started) load().catch(() => {})
    const next: ConnectionState = {
      phase,
      transport,
      isRealtime: phase === 'live',
      retryCount: transport ? 0 : retryCount,
      nextRetryAt: retryAt || null,
      latencyMs: transport === 'ws' ? latencyMs : null,
      error,
    }
    const text = JSON.stringify(next)
    if (text === shown) return
    state = next
    if (shown) events.changed()
    shown = text
  }

  const connection = {
    env,
    options,
    timing,
    base,
    tokens,
    session,
    memory,
    ladder,
    wishes,
    refused,
    start,
    stop,
    dispatch,
    command,
    ask,
    load,
    loaded: () => lazy,
    address,
    init,
    events,
    fault,
    rename,
    measure,
    result,
    isBatch,
    unheard,
    replyMs: REPLY_MS,
    differs,
    sync,
    /**
     * Resolves when the gateway has this client's presence in the topic as it is wanted.
     * @throws CommandError
     */
    settled: async (topic: string): Promise<unknown> => (await load()).settled(topic),
    state: (): ConnectionState => state,
    hello: (): Hello | null => hello,
  }
  const links = createLinks(connection)
  rename()
  show()
  return connection
}

/** What {@link createConnection} makes. */
export type Connection = ReturnType<typeof createConnection>

/** What an application's client needs of it. */
export type Source = Pick<Connection, 'start' | 'stop' | 'command' | 'settled' | 'sync' | 'refused' | 'state' | 'hello'>
