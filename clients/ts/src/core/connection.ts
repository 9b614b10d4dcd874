import { type Command, CommandError, refused, unavailable } from './commands.js'
import type { Env } from './env.js'
import { createLadder } from './ladder.js'
import type { Close, LinkState } from './ladder-types.js'
import { address, fetchInit, type Link, type LinkRequest, type OpenLink } from './link.js'
import { createMemory } from './memory.js'
import type { ClientError, ClientOptions } from './options.js'
import { openPoll } from './poll.js'
import { type Batch, type Hello, isBatch, isReply, type Reply, type Transport } from './protocol.js'
import { type Chain, createSession, type Delivery } from './session.js'
import { openSse } from './sse.js'
import { TIMING, type Timing } from './timing.js'
import { createTokens } from './token.js'
import { openWs } from './ws.js'

const OPEN: Record<Transport, OpenLink> = { ws: openWs, sse: openSse, poll: openPoll }
const TRANSPORTS: readonly Transport[] = ['ws', 'sse', 'poll']
const PING_EVERY_MS = 30_000
const WAITING_MAX = 1000

/** What the connection tells its owner. */
export interface ConnectionEvents {
  /** Everything up to `cursor` is there. */
  drained(before: string | null, deliveries: readonly Delivery[], cursor: string): void
  changed(): void
  hello(hello: Hello): void
}

type Answer = Pick<Reply, 'ok' | 'error'>

/** What runs for one of the ladder's links. */
interface Running {
  /** Null until the token is there. */
  link: Link | null
  chain: Chain
  hello: Hello | null
  /** What the gateway was asked for. */
  topics: ReadonlySet<string>
  /** Commands without a reply yet, by id. */
  readonly waiting: Map<string, (answer: Answer) => void>
}

/** Does what the ladder decides: opens and closes links, keeps time, feeds the session, hands out its deliveries. */
export function createConnection(
  options: ClientOptions,
  env: Env,
  topics: () => ReadonlySet<string>,
  events: ConnectionEvents,
) {
  const { url = '', getToken, after, transports = TRANSPORTS, user, types, interval } = options
  const timing: Timing = { ...TIMING, ...options.timing }
  const base = new URL(`${url.replace(/\/+$/, '')}/`, env.origin ?? 'http://localhost').href
  const tokens = createTokens(getToken)
  const session = createSession(!after || after === 'latest' || after === 'earliest' ? null : after)
  const memory = createMemory(options.remember === false ? null : env.storage, `throughline:${base}`)
  const running = new Map<LinkState, Running>()
  const inbox: (() => void)[] = []
  let hello: Hello | null = null
  let latencyMs: number | null = null
  let error: ClientError | null = null
  let stepping = false
  let timer: unknown
  let timerAt = Infinity
  let pingedAt = 0
  let commandId = 0
  let sessionId: string | undefined
  let unlisten: (() => void) | undefined
  let shown = ''
  let connected = false

  const ladder = createLadder(
    { transports, timing, random: env.random, canRefresh: getToken !== undefined },
    {
      open,
      close: end,
      ping,
      refreshToken() {
        if (getToken) tokens.wanted = 'refused'
      },
      newSession() {
        sessionId = undefined
      },
      remember: memory.remember,
      forget: memory.forget,
      report: (telemetry) => options.telemetry?.(telemetry),
    },
  )

  /** The proven transport; null while there is none. */
  function transport(): Transport | null {
    return ladder.writer?.provenAt ? ladder.writer.transport : null
  }

  function start(): void {
    if (ladder.started) return
    if (getToken) tokens.wanted = 'connect'
    unlisten = env.page.listen((signal) => dispatch(() => ladder.page(signal)))
    dispatch(() => {
      const now = env.now()
      for (const transport of TRANSPORTS) {
        ladder.block(transport, memory.blockedUntil(transport, now, timing.quarantine))
      }
      ladder.page(env.page.visible() ? 'visible' : 'hidden')
      if (!env.page.online()) ladder.page('offline')
      ladder.start()
    })
  }

  function stop(): void {
    tokens.cancel()
    dispatch(() => ladder.stop(null))
  }

  /** Steps the ladder. Inputs that arrive while one is handled wait for their turn. */
  function dispatch(input: () => void): void {
    inbox.push(input)
    if (stepping) return
    stepping = true
    for (let next = inbox.shift(); next; next = inbox.shift()) {
      ladder.step(env.now(), next)
      deliver()
    }
    stepping = false
    schedule()
    if (!ladder.started) unlisten?.()
    show()
  }

  /** Sends a command over the link in use, or over HTTP beside one that cannot. @throws CommandError */
  async function command(command: Command): Promise<unknown> {
    const inUse = ladder.writer && running.get(ladder.writer)
    if (!inUse?.link) throw unavailable('not connected')
    return inUse.link.send ? ask(inUse, command) : post(command)
  }

  /** One request beside the links, with the same identity. @throws CommandError */
  async function http(path: string, params: Record<string, string | undefined>, body?: string): Promise<unknown> {
    await tokens.get()
    const abort = new AbortController()
    const timer = env.setTimeout(() => abort.abort(), timing.reply)
    try {
      const request = { ...requestOf(), params: () => ({ user, ...params }) }
      const init = fetchInit(request, abort.signal)
      if (body) {
        init.method = 'POST'
        init.body = body
        Object.assign(init.headers as object, { 'content-type': 'application/json' })
      }
      const response = await env.fetch(address(request, path), init)
      if (response.ok) return await response.json()
      const { code = 'unavailable', detail = `HTTP ${response.status}` } = await response.json().catch(() => ({}))
      throw new CommandError(code, detail)
    } finally {
      env.clearTimeout(timer)
    }
  }

  /** For transports that cannot send in band; `session` says whose command it is. */
  async function post(command: Command): Promise<unknown> {
    // A poller that began from a cursor of its own has not met a hello yet.
    sessionId ??= ((await http('v1/poll', { wait: '0' })) as Batch).hello?.session
    const body = JSON.stringify({ id: '1', ...command })
    const { ok, error } = (await http('v1/send', { session: sessionId }, body)) as Reply
    if (error) throw refused(error)
    return ok
  }

  /** The wanted topics changed: in band where possible, else through a new link beside the old one. */
  function syncTopics(): void {
    const { writer } = ladder
    if (writer?.transport === 'ws') syncLinkTopics(writer)
    else dispatch(() => ladder.reopen())
  }

  function open(state: LinkState, pad: boolean): void {
    const stream = state.transport !== 'poll'
    const mine: Running = {
      hello: null,
      link: null,
      chain: session.begin(stream),
      topics: topics(),
      waiting: new Map(),
    }
    running.set(state, mine)
    const closed = (close: Close): void => {
      if (!running.has(state)) return
      end(state)
      dispatch(() => ladder.closed(state, close))
    }
    const connect = (): void => {
      if (!running.has(state)) return
      mine.chain = session.begin(stream)
      mine.topics = topics()
      try {
        mine.link = OPEN[state.transport](requestOf(state, mine.chain, pad), {
          heard: () => running.has(state) && dispatch(() => ladder.heard(state)),
          message: (text) => running.has(state) && message(state, mine, text, closed),
          closed,
        })
      } catch (error) {
        // Not here at all, or forbidden: a page over https may not open ws:.
        closed({ kind: 'lost', message: String(error) })
      }
    }
    // A moment later in any case: what is subscribed to in the same turn is asked for at once.
    tokens.get().then(connect, (error) => closed({ kind: 'busy', message: `no token: ${error}` }))
  }

  function requestOf(state?: LinkState, chain?: Chain, pad = false): LinkRequest {
    return {
      env,
      base,
      credentials: options.credentials ?? 'same-origin',
      token: () => tokens.current,
      params: () => ({
        after: chain?.expected ?? session.cursor ?? (after === 'earliest' ? after : undefined),
        topics: [...topics()].join(),
        types: types?.join(),
        interval,
        heartbeat: state && Math.ceil(state.heartbeatMs / 1000),
        // A link that claims the session ends the others of it 5 s later: not beside one that works.
        session: running.size < 2 || state === ladder.writer ? sessionId : undefined,
        user,
      }),
      pad,
      timing,
    }
  }

  function end(state: LinkState): void {
    const mine = running.get(state)
    running.delete(state)
    mine?.link?.close()
    const error = { code: 'unavailable', message: 'connection lost' }
    for (const settle of mine?.waiting.values() ?? []) settle({ error })
  }

  function message(state: LinkState, mine: Running, text: string, closed: (close: Close) => void): boolean {
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      // Cut, or not from the gateway: handled below as not a batch.
    }
    if (isReply(value)) mine.waiting.get(String(value.reply))?.(value)
    else if (!isBatch(value)) closed({ kind: 'lost', message: 'not a batch' })
    else if (!batch(state, mine, value)) closed({ kind: 'gap', message: 'not the next batch' })
    else {
      // A stream ends after its bye; a poll has to be ended.
      if (value.bye && state.transport === 'poll') closed({ kind: 'busy', message: value.bye.reason })
      return value.more === true
    }
    return false
  }

  /** @returns false where it does not continue from the cursor. */
  function batch(state: LinkState, mine: Running, batch: Batch): boolean {
    const { hello, bye } = batch
    // Ephemeral events have no number to tell a repetition by: only the link in use may bring them.
    if (!session.receive(mine.chain, batch, ladder.writer === state || !transport())) return false
    if (hello) {
      mine.hello = hello
      state.heartbeatMs = hello.heartbeat_ms || state.heartbeatMs
      if (memory.metDeployment(hello.deployment)) dispatch(() => ladder.forget())
      syncLinkTopics(state)
    }
    dispatch(() => ladder.batch(state, bye))
    if (batch.expiring) renewToken()
    // Not before the proof: the reply would push out what a path that is one message behind holds back.
    const due = latencyMs === null || env.now() - pingedAt >= PING_EVERY_MS
    if (due && transport() === 'ws' && ladder.writer === state) ping(state)
    return true
  }

  /** Hands over what the link in use has brought. */
  function deliver(): void {
    const { writer } = ladder
    const inUse = writer && running.get(writer)
    if (!inUse) return
    if (inUse.hello && inUse.hello !== hello) {
      hello = inUse.hello
      sessionId = hello.session
      events.hello(hello)
      // A stream cannot be told in band what has been subscribed to since it was opened.
      if (writer.transport === 'sse' && [...topics()].join() !== [...inUse.topics].join()) {
        inbox.push(() => ladder.reopen())
      }
    }
    if (session.follows(inUse.chain)) {
      const before = session.cursor
      const deliveries = session.drain(inUse.chain)
      if (session.cursor !== null && (session.cursor !== before || deliveries.length)) {
        events.drained(before, deliveries, session.cursor)
      }
    } else {
      end(writer)
      inbox.push(() => ladder.closed(writer, { kind: 'gap', message: 'opened before a reset' }))
    }
  }

  function syncLinkTopics(state: LinkState): void {
    const mine = running.get(state)
    if (!mine?.link?.send) return
    const wanted = topics()
    const asked = mine.topics
    mine.topics = wanted
    const change = (op: string, from: ReadonlySet<string>, without: ReadonlySet<string>): void => {
      const changed = [...from].filter((topic) => !without.has(topic))
      if (changed.length) tell(mine, { op, topics: changed })
    }
    change('subscribe', wanted, asked)
    change('unsubscribe', asked, wanted)
  }

  function ask({ link, waiting }: Running, command: Command): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (waiting.size >= WAITING_MAX) return reject(unavailable('too many commands wait'))
      commandId += 1
      const id = String(commandId)
      const settle = ({ ok, error }: Answer): void => {
        waiting.delete(id)
        env.clearTimeout(late)
        if (error) reject(refused(error))
        else resolve(ok)
      }
      const late = env.setTimeout(
        () => settle({ error: { code: 'unavailable', message: 'no reply in time' } }),
        timing.reply,
      )
      waiting.set(id, settle)
      link?.send?.(JSON.stringify({ id, ...command }))
    })
  }

  /** Sends a command of the connection's own; a refusal shows in the state. */
  function tell(mine: Running, command: Command): void {
    ask(mine, command).catch(({ code, message }: CommandError) => {
      if (code === 'unavailable') return
      error = { message: `${command.op}: ${message}`, fatal: false }
      show()
    })
  }

  function ping(state: LinkState): void {
    const mine = running.get(state)
    if (!mine) return
    const sentAt = env.now()
    pingedAt = sentAt
    ask(mine, { op: 'ping' }).then(
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
    tokens.wanted = 'expiring'
    tokens.get().then(
      () => {
        const { writer } = ladder
        const inUse = writer && running.get(writer)
        if (inUse?.link?.send) tell(inUse, { op: 'auth', token: tokens.current })
        else if (writer?.transport === 'sse') dispatch(() => ladder.reopen())
      },
      () => {}, // The gateway will end the session, and then the token is asked for again.
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

  /** Tells the owner when something that it shows has changed; a moving cursor alone is not shown. */
  function show(): void {
    const { phase, retryCount, retryAt, lastClose, started } = ladder
    const inUse = transport()
    if (!inUse) error = lastClose && { code: lastClose.code, message: lastClose.message, fatal: !started }
    else if (!connected) error = null
    connected = inUse !== null
    const now = JSON.stringify([phase, inUse, retryCount, retryAt, latencyMs, error])
    if (now === shown) return
    shown = now
    events.changed()
  }

  return {
    base,
    timing,
    session,
    ladder,
    transport,
    start,
    stop,
    dispatch,
    command,
    http,
    syncTopics,
    get hello() {
      return hello
    },
    get latencyMs() {
      return latencyMs
    },
    get error() {
      return error
    },
  }
}
