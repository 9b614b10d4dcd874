import type { Carrier } from './carrier.js'
import type { Close } from './close.js'
import { type Command, CommandError, result, unheard } from './commands.js'
import type { Env } from './env.js'
import { createLadder } from './ladder.js'
import type { LinkState } from './ladder-types.js'
import { type OpenLink, type Params, refusal } from './link.js'
import { guarded } from './listeners.js'
import { createMemory } from './memory.js'
import type { ClientError, ClientOptions } from './options.js'
import { part } from './part.js'
import { type Batch, type Hello, isBatch, isReply, type Refusal, type Reply } from './protocol.js'
import { NAMES, POLL, SSE, WS } from './rung.js'
import { type Chain, createSession, type Delivery } from './session.js'
import type { ConnectionState } from './state.js'
import { REPLY_MS, TIMING } from './timing.js'
import { createTokens } from './token.js'
import type { Upkeep } from './upkeep.js'
import { sameTopics, type Wishes } from './wishes.js'
import { openWs } from './ws.js'

const PING_EVERY_MS = 30_000
const WAITING_MAX = 1000
/** The close code for a message that somebody on the path found too large, and what is asked for then. */
const TOO_LARGE = 1009
const SMALL_BYTES = 8192
const GAP: Close = { kind: 'gap', message: 'gap' }

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

/** Does what the ladder decides: opens and closes links, keeps time, feeds the session, hands out its deliveries. */
// Its inner functions share the state of one connection: a class would only spell each of them `this.`.
export function createConnection(options: ClientOptions, env: Env, wishes: Wishes, events: ConnectionEvents) {
  const { url = '', getToken, after, transports = NAMES, user, types, interval, credentials } = options
  const timing = { ...TIMING, ...options.timing }
  // The address of a WebSocket stands for the gateway at it: the other transports have the same place.
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
  let greeted: Carrier | undefined
  /** The token with which the gateway said whom it takes this client for. */
  let vouched: string | null = null
  let commandId = 0
  let slot: Slot | undefined
  let upkeep: Upkeep | undefined
  let batch: number | undefined
  let unlisten: (() => void) | undefined

  /** What sends requests beside the links. */
  const requests = part(() => import('./requests.js'))
  /** What a path without WebSocket needs. */
  const fallback = part(() => import('./fallback.js'))
  /** What changes topics and presence. */
  const upkeeping = part(async () => {
    const { createUpkeep } = await import('./upkeep.js')
    upkeep = createUpkeep({ env, wishes, refused, implied, inUse: () => ladder.writer?.carrier, command, refuse })
    return upkeep
  })

  const ladder = createLadder({
    transports,
    timing,
    random: env.random,
    canRefresh: !!getToken,
    memory,
    effects: { open, close: end, ping, report: guarded(options.telemetry) },
  })
  rename()
  show()

  /** The link in use, once it is proven. */
  function inUse(): LinkState | null {
    return ladder.writer?.provenAt ? ladder.writer : null
  }

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
    fallback().catch(() => {}) // It is loaded again when it is needed.
  }

  function stop(): void {
    tokens.cancel()
    leave()
    dispatch(() => ladder.stop(null))
  }

  /** Tells the gateway that this session ends, as some proxies never do. A request that outlives the page. */
  function leave(): void {
    if (!ladder.links.length) return
    const request = { ...init(), method: 'POST', keepalive: true }
    env.fetch(address('v1/leave', { session: session.id }), request).catch(() => {}) // It will notice, sooner or later.
    rename()
  }

  /** The next link begins another session. It has a name of this client's, because a poller may never be told one. */
  function rename(): void {
    upkeep?.renew()
    session.id = [env.random(), env.random(), env.random()].map((part) => part.toString(36).slice(2)).join('')
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
      upkeep?.end(new CommandError(unheard('closed')))
    }
    show()
  }

  /** Sends a command over the link in use, or over HTTP beside one that cannot. @throws CommandError */
  async function command(command: Command): Promise<unknown> {
    const carrier = ladder.writer?.carrier
    if (!carrier) throw new CommandError(unheard('no link'))
    return carrier.link.send ? ask(carrier, command) : (await requests()).post(connection, command)
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

  /** Topics that every session of this user has. */
  function implied(): readonly string[] {
    return hello?.topics.slice(0, 2) ?? []
  }

  /** Takes a list of what this session does not get. */
  function heed(now: readonly Refusal[] = []): void {
    for (const topic of refused.keys()) if (!now.some((refusal) => refusal.topic === topic)) refused.delete(topic)
    for (const { topic, code } of now) refuse(topic, { code, message: '' })
  }

  function refuse(topic: string, { code, message }: Pick<CommandError, 'code' | 'message'>): void {
    const known = refused.get(topic) === code
    refused.set(topic, code)
    if (known) return
    events.refused({ topic, code })
    if (message) fault(`${topic}: ${message}`)
  }

  /** Brings what the gateway has in line with what is wanted now: in band, or by what links are opened with. */
  function sync(): void {
    const { writer, links } = ladder
    const { carrier } = writer ?? {}
    if (!writer || !carrier) return
    const { link } = carrier
    const differ = !sameTopics(wishes.topics(), carrier.topics)
    const reopen = (): void => {
      // One that is on its way is looked at when it is in use: they would never arrive if each change began anew.
      const coming = writer.leaving && links.some((link) => link !== writer && !link.provenAt)
      if (differ && !coming) dispatch(ladder.reopen)
    }
    if (link.again && differ) {
      carrier.topics = wishes.topics()
      link.again()
    } else if (!link.send) reopen()
    if (upkeep || (link.send && differ) || wishes.present().size) upkeeping().then(({ run }) => run(), reopen)
  }

  /** Resolves when the gateway has this client's presence in the topic as it is wanted. @throws CommandError */
  async function settled(topic: string): Promise<unknown> {
    const { settled } = await upkeeping()
    if (!ladder.started) throw new CommandError(unheard('closed'))
    return settled(topic)
  }

  function open(state: LinkState, pad: boolean): void {
    const { rung } = state
    const current = (): boolean => ladder.links.includes(state)
    const closed = (close: Close): void => {
      if (close.code === TOO_LARGE) batch = SMALL_BYTES
      // The refusal of a handshake cannot be read, but that of another transport can: where there is none, one is asked.
      if (rung < WS || state.openedAt || transports.length > 1) return ended(close)
      const why = requests().then(({ explain }) => explain(connection))
      why.catch(() => {}).then((told) => ended(told || close))
    }
    const ended = (close: Close): void => {
      if (close.kind === 'auth' && current()) tokens.want('refused')
      dispatch(() => ladder.closed(state, close))
    }
    const connect = (openLink: OpenLink): void => {
      if (!current()) return
      dispatch(() => ladder.asked(state))
      const chain = session.begin(rung !== POLL)
      const request = {
        env,
        timing,
        pad,
        tokens,
        address: (path: string, more?: Params) => address(path, { ...params(state, chain), ...more }),
        // A cookie may be another user's by now, and so may a token that was asked for anew.
        doubts: ({ hello: own, events }: Partial<Batch>) =>
          !own && !user && !!events?.length && !(hello && tokens.current && tokens.current === vouched),
        init,
        refusal,
        hold: async () => !slot || slot.take(),
      }
      try {
        const link = openLink(request, {
          heard: (owes) => current() && dispatch(() => ladder.heard(state, owes)),
          message: (text) => current() && message(state, text, closed),
          greeted(own) {
            const { carrier } = state
            vouched = tokens.current
            if (carrier && own?.user !== (carrier.hello ?? hello)?.user) carrier.hello = own
          },
          closed,
        })
        state.carrier = { link, chain, topics: wishes.topics(), waiting: new Map() }
      } catch (error) {
        // Not here at all, or forbidden: a page over https may not open ws:.
        closed({ kind: 'lost', message: `${error}` })
      }
    }
    const prepare = async (): Promise<void> => {
      if (rung === WS) return connect(openWs)
      const { createSlot, openSse, openPoll } = await fallback()
      slot ??= createSlot(env, base)
      if (rung === POLL) return connect(openPoll)
      // Where there is nothing else, a stream waits in the browser's queue for its turn.
      if (!transports.includes('poll') || (await slot.take())) connect(openSse)
      else closed({ kind: 'full', message: 'too many requests are held' })
    }
    // A moment later in any case: what is subscribed to in the same turn is asked for at once.
    tokens.get().then(
      () => prepare().catch((error) => closed({ kind: 'lost', message: `${error}` })),
      (error) => closed({ kind: 'busy', message: `no token: ${error}` }),
    )
  }

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

  function end(state: LinkState): void {
    const { carrier } = state
    carrier?.link.close()
    if (!ladder.links.some((link) => link !== state && link.rung < WS)) slot?.free()
    for (const settle of carrier?.waiting.values() ?? []) settle({ error: unheard('lost') })
  }

  function message(state: LinkState, text: string, closed: (close: Close) => void): boolean {
    const { rung } = state
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
    else if (!session.receive(carrier.chain, value, ladder.writer === state || !inUse())) closed(GAP)
    else {
      const { hello, bye, more } = value
      if (hello) {
        carrier.hello = hello
        state.heartbeatMs = hello.heartbeat_ms || state.heartbeatMs
        if (memory.metDeployment(hello.deployment)) dispatch(ladder.forget)
      }
      if (bye?.reason === 'expired_token') tokens.want('refused')
      // The gateway ended this session: the next link starts another.
      if (bye?.reason === 'replaced' && ladder.writer === state) rename()
      // An empty batch follows a burst within 250 ms, unless batches are spaced further than that (PROTOCOL.md, T12).
      const owes = value.events.length > 0 && !interval
      if (rung === POLL && !hello && ladder.writer === state) heed(value.refused)
      dispatch(() => ladder.batch(state, owes, bye))
      if (value.expiring) renewToken()
      // Not before the proof: the reply would push out what a path that is one message behind holds back.
      const due = latencyMs === null || env.now() - pingedAt >= PING_EVERY_MS
      if (due && inUse() === state && rung === WS) ping(state)
      // A stream ends after its bye; a poll has to be ended.
      if (bye && rung === POLL) closed({ kind: 'busy', message: bye.reason })
      return !!more
    }
    return false
  }

  /** Hands over what the link in use has brought. */
  function deliver(): void {
    const { writer } = ladder
    const carrier = writer?.carrier
    if (!carrier) return
    const isOther = carrier !== greeted
    const isGreeted = carrier.hello && carrier.hello !== hello
    greeted = carrier
    if (isGreeted) {
      hello = carrier.hello as Hello
      vouched = tokens.current
      session.id = hello.session
      // A new start in place does not say again what was refused.
      if (isOther) heed(hello.refused)
      upkeep?.renew()
      events.hello()
    }
    // Wishes may have changed since the link was opened; a poll that goes on from a cursor has no hello.
    if (isOther || isGreeted) sync()
    if (session.follows(carrier.chain)) {
      const before = session.cursor
      const deliveries = session.drain(carrier.chain)
      const { cursor } = session
      if (cursor !== null && (cursor !== before || deliveries.length)) events.drained(before, deliveries, cursor)
    } else dispatch(() => ladder.closed(writer, GAP))
  }

  function ask({ link, waiting }: Carrier, command: Command): Promise<unknown> {
    commandId += 1
    const id = `${commandId}`
    const answer = new Promise<Reply>((resolve) => {
      if (waiting.size >= WAITING_MAX) return resolve({ error: unheard('too many') })
      const settle = (reply: Reply): void => {
        waiting.delete(id)
        env.clearTimeout(late)
        resolve(reply)
      }
      const late = env.setTimeout(() => settle({ error: unheard('no reply') }), REPLY_MS)
      waiting.set(id, settle)
      try {
        link.send?.(JSON.stringify({ id, ...command }))
      } catch (error) {
        settle({ error: unheard(`${error}`) })
      }
    })
    return answer.then(result)
  }

  /** Something was refused and the connection goes on: that shows in the state. */
  function fault(message: string): void {
    error = { message, fatal: false }
    show()
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

  /** Before the token ends: in band on WebSocket, through a new stream on SSE; a poll takes it along. */
  function renewToken(): void {
    if (!getToken) return
    tokens.want('expiring')
    tokens.get().then(
      () => {
        const { rung, carrier } = ladder.writer ?? {}
        if (carrier?.link.send) authenticate(carrier)
        else if (rung === SSE) dispatch(ladder.reopen)
      },
      () => {}, // The gateway will end the session, and then the token is asked for again.
    )
  }

  function authenticate(carrier: Carrier): void {
    ask(carrier, { op: 'auth', token: tokens.current }).then(
      () => {
        // The new grant may allow less, and the gateway has taken that away; or more. What it has is asked for again.
        if (wishes.topics().length) carrier.topics = []
        for (const [topic, code] of refused) if (code === 'forbidden') refused.delete(topic)
        upkeep?.renew()
        sync()
      },
      ({ code, message }: CommandError) => code !== 'unavailable' && fault(`auth: ${message}`),
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
    const { phase, retryCount, retryAt, lastClose, started } = ladder
    const transport = NAMES[inUse()?.rung ?? -1] ?? null
    if (!transport) error = lastClose && { code: lastClose.code, message: lastClose.message, fatal: !started }
    // What was lost before the link is in use is over; what was refused since then is not.
    else if (!state.transport) error = null
    // While the network is known to work: later may be too late to load them.
    if (transport) for (const load of [requests, upkeeping]) load().catch(() => {})
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
    base,
    tokens,
    session,
    ladder,
    start,
    stop,
    dispatch,
    command,
    requests,
    address,
    init,
    result,
    refusal,
    isBatch,
    unheard,
    replyMs: REPLY_MS,
    sync,
    settled,
    refused,
    state: (): ConnectionState => state,
    hello: (): Hello | null => hello,
  }
  return connection
}

type Slot = ReturnType<typeof import('./fallback.js')['createSlot']>

/** What {@link createConnection} makes. */
export type Connection = ReturnType<typeof createConnection>

/** What an application's client needs of it. */
export type Source = Pick<Connection, 'start' | 'stop' | 'command' | 'settled' | 'sync' | 'refused' | 'state' | 'hello'>
