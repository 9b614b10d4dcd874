import { type Command, CommandError, refused, unavailable } from './commands.js'
import type { Env } from './env.js'
import { Ladder } from './ladder.js'
import type { Close, LinkState } from './ladder-types.js'
import { address, fetchInit, type Link, type LinkRequest, type OpenLink } from './link.js'
import { Memory } from './memory.js'
import type { ClientError, ClientOptions } from './options.js'
import { openPoll } from './poll.js'
import { type Batch, type Hello, isBatch, isReply, type Reply, type Transport } from './protocol.js'
import { type Chain, type Delivery, Session } from './session.js'
import { openSse } from './sse.js'
import { TIMING, type Timing } from './timing.js'
import { Tokens } from './token.js'
import { openWs } from './ws.js'

const OPEN: Record<Transport, OpenLink> = { ws: openWs, sse: openSse, poll: openPoll }
const TRANSPORTS: readonly Transport[] = ['ws', 'sse', 'poll']
const PING_EVERY_MS = 30_000
const WAITING_MAX = 1000

/** What the connection tells its owner. */
export interface ConnectionEvents {
  deliver(delivery: Delivery): void
  changed(): void
  hello(hello: Hello): void
}

/** What runs for one of the ladder's links. */
interface Running {
  /** Null until the token is there. */
  link: Link | null
  chain: Chain
  hello: Hello | null
  /** What the gateway was asked for. */
  topics: ReadonlySet<string>
  /** Commands without a reply yet, by id. */
  readonly waiting: Map<string, (reply: Reply) => void>
}

/** Does what the ladder decides: opens and closes links, keeps time, feeds the session, hands out its deliveries. */
export class Connection {
  readonly timing: Timing
  readonly base: string
  readonly session: Session
  readonly ladder: Ladder
  hello: Hello | null = null
  latencyMs: number | null = null
  error: ClientError | null = null
  private readonly tokens: Tokens
  private readonly memory: Memory
  private readonly running = new Map<LinkState, Running>()
  private readonly inbox: (() => void)[] = []
  private stepping = false
  private timer: unknown
  private timerAt = Infinity
  private pingedAt = 0
  private commandId = 0
  private sessionId: string | undefined
  private unlisten: (() => void) | null = null
  private shown = ''
  private connected = false

  constructor(
    private readonly options: ClientOptions,
    readonly env: Env,
    private readonly topics: () => ReadonlySet<string>,
    private readonly events: ConnectionEvents,
  ) {
    const { url = '', getToken, after, transports = TRANSPORTS, remember } = options
    this.timing = { ...TIMING, ...options.timing }
    this.base = new URL(`${url.replace(/\/+$/, '')}/`, env.origin ?? 'http://localhost').href
    this.tokens = new Tokens(getToken)
    this.session = new Session(!after || after === 'latest' || after === 'earliest' ? null : after)
    this.memory = new Memory(remember === false ? null : env.storage, `throughline:${this.base}`)
    const { memory, tokens, timing } = this
    this.ladder = new Ladder(
      { transports, timing, random: env.random, canRefresh: getToken !== undefined },
      {
        open: (state, pad) => this.open(state, pad),
        close: (state) => this.end(state),
        ping: (state) => this.ping(state),
        refreshToken: () => {
          if (getToken) tokens.wanted = 'refused'
        },
        newSession: () => {
          this.sessionId = undefined
        },
        remember: (transport, until) => memory.remember(transport, until),
        forget: () => memory.forget(),
        report: (telemetry) => options.telemetry?.(telemetry),
      },
    )
  }

  /** The proven transport; null while there is none. */
  get transport(): Transport | null {
    const { writer } = this.ladder
    return writer?.provenAt ? writer.transport : null
  }

  start(): void {
    if (this.ladder.started) return
    const { env, ladder, timing, memory } = this
    this.unlisten = env.page.listen((signal) => this.dispatch(() => ladder.page(signal)))
    this.dispatch(() => {
      const now = env.now()
      for (const transport of TRANSPORTS) {
        ladder.block(transport, memory.blockedUntil(transport, now, timing.quarantine))
      }
      ladder.page(env.page.visible() ? 'visible' : 'hidden')
      if (!env.page.online()) ladder.page('offline')
      ladder.start()
    })
  }

  stop(): void {
    this.tokens.cancel()
    this.dispatch(() => this.ladder.stop(null))
  }

  /** Steps the ladder. Inputs that arrive while one is handled wait for their turn. */
  dispatch(input: () => void): void {
    this.inbox.push(input)
    if (this.stepping) return
    this.stepping = true
    for (let next = this.inbox.shift(); next; next = this.inbox.shift()) {
      this.ladder.step(this.env.now(), next)
      this.deliver()
    }
    this.stepping = false
    this.schedule()
    if (!this.ladder.started) this.unlisten?.()
    this.show()
  }

  /** Sends a command over the link in use, or over HTTP beside one that cannot. @throws CommandError */
  async command(command: Command): Promise<unknown> {
    const { writer } = this.ladder
    const running = writer && this.running.get(writer)
    if (!running?.link) throw unavailable('not connected')
    return running.link.send ? this.ask(running, command) : this.post(command)
  }

  /** One request beside the links, with the same identity. @throws CommandError */
  async http(path: string, params: Record<string, string | undefined>, body?: string): Promise<unknown> {
    const { env, options, timing } = this
    await this.tokens.get()
    const abort = new AbortController()
    const timer = env.setTimeout(() => abort.abort(), timing.reply)
    try {
      const request = { ...this.request(), params: () => ({ user: options.user, ...params }) }
      const init = fetchInit(request, abort.signal)
      if (body) {
        init.method = 'POST'
        init.body = body
        Object.assign(init.headers as object, { 'content-type': 'application/json' })
      }
      const response = (await env.fetch?.(address(request, path), init)) as Response
      if (response.ok) return await response.json()
      const { code = 'unavailable', detail = `HTTP ${response.status}` } = await response.json().catch(() => ({}))
      throw new CommandError(code, detail)
    } finally {
      env.clearTimeout(timer)
    }
  }

  /** The wanted topics changed: in band where possible, else through a new link beside the old one. */
  syncTopics(): void {
    const { writer } = this.ladder
    if (writer?.transport === 'ws') this.syncLinkTopics(writer)
    else this.dispatch(() => this.ladder.reopen())
  }

  private open(state: LinkState, pad: boolean): void {
    const stream = state.transport !== 'poll'
    const running: Running = {
      hello: null,
      link: null,
      chain: this.session.begin(stream),
      topics: this.topics(),
      waiting: new Map(),
    }
    this.running.set(state, running)
    const closed = (close: Close): void => {
      this.end(state)
      this.dispatch(() => this.ladder.closed(state, close))
    }
    const connect = (): void => {
      if (!this.running.has(state)) return
      running.chain = this.session.begin(stream)
      running.topics = this.topics()
      running.link = OPEN[state.transport](this.request(state, running.chain, pad), {
        heard: () => this.dispatch(() => this.ladder.heard(state)),
        message: (text) => this.message(state, running, text, closed),
        closed,
      })
    }
    if (!this.tokens.wanted) connect()
    else this.tokens.get().then(connect, (error) => closed({ kind: 'busy', message: `no token: ${error}` }))
  }

  private request(state?: LinkState, chain?: Chain, pad = false): LinkRequest {
    const { options, timing, session, tokens, env } = this
    const { types, interval, user, after, credentials = 'same-origin' } = options
    return {
      env,
      base: this.base,
      credentials,
      token: () => tokens.current,
      params: () => ({
        after: chain?.expected ?? session.cursor ?? (after === 'earliest' ? after : undefined),
        topics: [...this.topics()].join(),
        types: types?.join(),
        interval,
        heartbeat: state && Math.ceil(state.heartbeatMs / 1000),
        // A link that claims the session ends the others of it 5 s later: not beside one that works.
        session: this.running.size < 2 || state === this.ladder.writer ? this.sessionId : undefined,
        user,
      }),
      pad,
      timing,
    }
  }

  private end(state: LinkState): void {
    const running = this.running.get(state)
    this.running.delete(state)
    running?.link?.close()
    for (const settle of running?.waiting.values() ?? []) {
      settle({ reply: '', error: { code: 'unavailable', message: 'the connection was lost' } })
    }
  }

  private message(state: LinkState, running: Running, text: string, closed: (close: Close) => void): boolean {
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      // Cut, or not from the gateway: handled below as not a batch.
    }
    if (isReply(value)) running.waiting.get(String(value.reply))?.(value)
    else if (!isBatch(value)) closed({ kind: 'lost', message: 'not a batch' })
    else if (!this.batch(state, running, value)) closed({ kind: 'gap', message: 'a batch did not follow' })
    else {
      // A stream ends after its bye; a poll has to be ended.
      if (value.bye && state.transport === 'poll') closed({ kind: 'busy', message: value.bye.reason })
      return value.more === true
    }
    return false
  }

  /** @returns false where it does not continue from the cursor. */
  private batch(state: LinkState, running: Running, batch: Batch): boolean {
    const { ladder, memory } = this
    const { hello, bye, expiring } = batch
    // Ephemeral events have no number to tell a repetition by: only the link in use may bring them.
    if (!this.session.receive(running.chain, batch, ladder.writer === state || !ladder.writer?.provenAt)) return false
    if (hello) {
      running.hello = hello
      state.heartbeatMs = hello.heartbeat_ms || state.heartbeatMs
      if (memory.metDeployment(hello.deployment)) this.dispatch(() => ladder.forget())
      this.syncLinkTopics(state)
    }
    this.dispatch(() => ladder.batch(state, bye))
    if (expiring) this.renewToken()
    // Not before the proof: the reply would push out what a path that is one message behind holds back.
    const due = this.latencyMs === null || this.env.now() - this.pingedAt >= PING_EVERY_MS
    if (due && this.transport === 'ws' && ladder.writer === state) this.ping(state)
    return true
  }

  /** Hands over what the link in use has brought. */
  private deliver(): void {
    const { session, ladder } = this
    const { writer } = ladder
    const running = writer && this.running.get(writer)
    if (!running) return
    const { chain, hello } = running
    if (hello && hello !== this.hello) {
      this.hello = hello
      this.sessionId = hello.session
      this.events.hello(hello)
    }
    if (session.follows(chain)) {
      for (const delivery of session.drain(chain)) this.events.deliver(delivery)
    } else {
      this.end(writer)
      this.inbox.push(() => ladder.closed(writer, { kind: 'gap', message: 'opened before a reset' }))
    }
  }

  private syncLinkTopics(state: LinkState): void {
    const running = this.running.get(state)
    if (!running?.link?.send) return
    const wanted = this.topics()
    const { topics } = running
    running.topics = wanted
    const change = (op: string, from: ReadonlySet<string>, without: ReadonlySet<string>): void => {
      const changed = [...from].filter((topic) => !without.has(topic))
      if (changed.length) this.tell(running, { op, topics: changed })
    }
    change('subscribe', wanted, topics)
    change('unsubscribe', topics, wanted)
  }

  private ask({ link, waiting }: Running, command: Command): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (waiting.size >= WAITING_MAX) return reject(unavailable('too many commands wait for a reply'))
      this.commandId += 1
      const id = String(this.commandId)
      const settle = ({ ok, error }: Omit<Reply, 'reply'>): void => {
        waiting.delete(id)
        this.env.clearTimeout(timer)
        if (error) reject(refused(error))
        else resolve(ok)
      }
      const late = { error: { code: 'unavailable', message: 'no reply in time' } }
      const timer = this.env.setTimeout(() => settle(late), this.timing.reply)
      waiting.set(id, settle)
      link?.send?.(JSON.stringify({ id, ...command }))
    })
  }

  /** Sends a command of the connection's own; a refusal shows in the state. */
  private tell(running: Running, command: Command): void {
    this.ask(running, command).catch((error: Error) => {
      if (error instanceof CommandError && error.code === 'unavailable') return
      this.error = { message: `${command.op}: ${error.message}`, fatal: false }
      this.show()
    })
  }

  private ping(state: LinkState): void {
    const running = this.running.get(state)
    if (!running) return
    const sentAt = this.env.now()
    this.pingedAt = sentAt
    this.ask(running, { op: 'ping' }).then(
      () => {
        this.latencyMs = this.env.now() - sentAt
        this.show()
      },
      () => {}, // The ladder judges by any byte, not by this reply.
    )
  }

  /** Before the token ends: in band on WebSocket, through a new stream on SSE; a poll takes it along. */
  private renewToken(): void {
    const { tokens, ladder } = this
    if (!this.options.getToken) return
    tokens.wanted = 'expiring'
    tokens.get().then(
      () => {
        const { writer } = ladder
        const running = writer && this.running.get(writer)
        if (running?.link?.send) this.tell(running, { op: 'auth', token: tokens.current })
        else if (writer?.transport === 'sse') this.dispatch(() => ladder.reopen())
      },
      () => {}, // The gateway will end the session, and then the token is asked for again.
    )
  }

  /** For transports that cannot send in band; `session` says whose command it is. */
  private async post(command: Command): Promise<unknown> {
    if (!this.sessionId) {
      // A poller that began from a cursor of its own has not met a hello yet.
      this.sessionId = ((await this.http('v1/poll', { wait: '0' })) as Batch).hello?.session
    }
    const body = JSON.stringify({ id: '1', ...command })
    const { ok, error } = (await this.http('v1/send', { session: this.sessionId }, body)) as Reply
    if (error) throw refused(error)
    return ok
  }

  private schedule(): void {
    const { env, ladder } = this
    const at = ladder.wakeAt
    // A timer that fires early costs one step; setting it anew for every message costs more.
    if (at >= this.timerAt && this.timerAt > env.now()) return
    env.clearTimeout(this.timer)
    this.timerAt = at
    if (at === Infinity) return
    const fire = (): void => {
      this.timerAt = Infinity
      this.dispatch(() => {})
    }
    this.timer = env.setTimeout(fire, Math.max(0, at - env.now()))
  }

  /** Tells the owner when something that it shows has changed; a moving cursor alone is not shown. */
  private show(): void {
    const { ladder, transport } = this
    const { phase, retryCount, retryAt, lastClose, started } = ladder
    if (transport && !this.connected) this.error = null
    else if (!transport) {
      this.error = lastClose && { code: lastClose.code, message: lastClose.message, fatal: !started }
    }
    this.connected = transport !== null
    const shown = JSON.stringify([phase, transport, retryCount, retryAt, this.latencyMs, this.error])
    if (shown === this.shown) return
    this.shown = shown
    this.events.changed()
  }
}
