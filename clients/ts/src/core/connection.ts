import { type Command, CommandError, Replies, unavailable } from './commands.js'
import type { Env } from './env.js'
import { Ladder } from './ladder.js'
import type { Close, Effect, Input, Phase } from './ladder-types.js'
import { address, fetchInit, type Link, type LinkRequest, type OpenLink } from './link.js'
import { Memory } from './memory.js'
import { type ClientError, type ClientOptions, clientError } from './options.js'
import { openPoll } from './poll.js'
import { type Batch, type Hello, isBatch, isReply, type Transport } from './protocol.js'
import { type Delivery, Session } from './session.js'
import { openSse } from './sse.js'
import { TIMING, type Timing } from './timing.js'
import { Tokens } from './token.js'
import { openWs } from './ws.js'

const OPEN: Record<Transport, OpenLink> = { ws: openWs, sse: openSse, poll: openPoll }
const PING_EVERY_MS = 30_000

/** What the connection tells its owner. */
export interface ConnectionEvents {
  deliver(delivery: Delivery): void
  changed(): void
  hello(hello: Hello): void
}

interface Running {
  link: Link | null
  closed: boolean
  readonly transport: Transport
  /** What the gateway was asked for, or has confirmed. */
  topics: ReadonlySet<string>
}

/** Runs the ladder's effects: opens and closes links, keeps time, feeds the session, and hands out its deliveries. */
export class Connection {
  readonly timing: Timing
  readonly base: string
  readonly tokens: Tokens
  readonly session: Session
  readonly ladder: Ladder
  hello: Hello | null = null
  latencyMs: number | null = null
  error: ClientError | null = null
  private readonly replies: Replies
  private readonly memory: Memory
  private readonly running = new Map<number, Running>()
  private readonly inbox: Input[] = []
  private busy = false
  private timer: unknown
  private timerAt = Number.POSITIVE_INFINITY
  private pingedAt = 0
  private sessionId: string | undefined
  private unlisten: (() => void) | null = null
  private lastShown = ''
  private lastTransport: Transport | null = null

  constructor(
    private readonly options: ClientOptions,
    readonly env: Env,
    private readonly topics: () => ReadonlySet<string>,
    private readonly events: ConnectionEvents,
  ) {
    this.timing = { ...TIMING, ...options.timing }
    this.base = new URL(`${options.url ?? ''}/`.replace(/\/+$/, '/'), env.origin ?? 'http://localhost').href
    this.tokens = new Tokens(options.getToken)
    const after = options.after
    this.session = new Session(after === undefined || after === 'latest' || after === 'earliest' ? null : after)
    this.ladder = new Ladder({
      transports: options.transports ?? ['ws', 'sse', 'poll'],
      timing: this.timing,
      random: () => env.random(),
      canRefresh: this.tokens.canRefresh,
    })
    this.memory = new Memory(options.remember === false ? null : env.storage, `throughline:${this.base}`)
    this.replies = new Replies(env, this.timing.reply)
  }

  get phase(): Phase {
    return this.ladder.phase
  }

  /** The proven transport; null while there is none. */
  get transport(): Transport | null {
    const writer = this.ladder.writer
    return writer?.provenAt != null ? writer.transport : null
  }

  start(): void {
    if (this.unlisten) return
    const { page } = this.env
    this.error = null
    this.unlisten = page.listen((signal) => this.dispatch({ type: 'page', signal }))
    const now = this.env.now()
    for (const negative of this.memory.negatives(now, this.timing.quarantine)) {
      this.dispatch({ type: 'blocked', ...negative })
    }
    if (!page.visible()) this.dispatch({ type: 'page', signal: 'hidden' })
    if (!page.online()) this.dispatch({ type: 'page', signal: 'offline' })
    this.dispatch({ type: 'start' })
  }

  stop(): void {
    this.tokens.cancel()
    this.dispatch({ type: 'stop' })
  }

  /** Feeds the ladder. Inputs that arrive while one is handled wait for their turn. */
  dispatch(input: Input): void {
    this.inbox.push(input)
    if (this.busy) return
    this.busy = true
    try {
      for (let next = this.inbox.shift(); next; next = this.inbox.shift()) {
        for (const effect of this.ladder.step(next, this.env.now())) this.run(effect)
        this.deliver()
      }
    } finally {
      this.busy = false
    }
    this.schedule()
    if (this.ladder.phase === 'closed') {
      this.unlisten?.()
      this.unlisten = null
    }
    this.show()
  }

  /** Sends a command over the link in use, or over HTTP beside one that cannot. */
  async command(command: Command): Promise<unknown> {
    const writer = this.ladder.writer
    const running = writer && this.running.get(writer.id)
    if (!writer || !running?.link) throw unavailable('not connected')
    const { send } = running.link
    return send ? this.replies.ask(writer.id, command, send) : this.post(command)
  }

  /** The wanted topics changed: in band where possible, else through a new link beside the old one. */
  syncTopics(): void {
    const writer = this.ladder.writer
    if (!writer) return
    if (writer.transport === 'ws') return this.syncLinkTopics(writer.id)
    this.dispatch({ type: 'reopen' })
  }

  private run(effect: Effect): void {
    switch (effect.do) {
      case 'open':
        return this.open(effect)
      case 'close':
        return this.end(effect.link)
      case 'ping':
        return this.ping(effect.link)
      case 'refresh':
        return this.tokens.expire('refused')
      case 'anew':
        this.sessionId = undefined
        return
      case 'remember':
        return this.memory.remember(effect.transport, effect.until)
      case 'forget':
        return this.memory.forget()
      case 'switched':
        this.options.telemetry?.({ type: 'transport', from: effect.from, to: effect.to, reason: effect.reason })
        return
      case 'lost': {
        const { transport, reason, close } = effect
        if (close) this.error = clientError(close)
        this.options.telemetry?.({ type: 'lost', transport, reason, ...(close?.code ? { code: close.code } : {}) })
      }
    }
  }

  private open(effect: Extract<Effect, { do: 'open' }>): void {
    const running: Running = { link: null, closed: false, transport: effect.transport, topics: new Set() }
    this.running.set(effect.link, running)
    if (!this.tokens.missing) return this.connect(effect, running)
    this.tokens.get().then(
      () => {
        if (!running.closed) this.connect(effect, running)
      },
      (error: unknown) => this.closed(effect.link, { kind: 'busy', message: `no token: ${String(error)}` }),
    )
  }

  private connect(effect: Extract<Effect, { do: 'open' }>, running: Running): void {
    const id = effect.link
    running.topics = new Set(this.topics())
    this.session.begin(id, this.session.cursor, effect.transport !== 'poll')
    running.link = OPEN[effect.transport](this.request(id, effect.pad, effect.heartbeatMs), {
      open: () => this.dispatch({ type: 'open', link: id }),
      heard: () => this.dispatch({ type: 'heard', link: id }),
      message: (text) => this.message(id, text),
      closed: (close) => this.closed(id, close),
    })
  }

  private request(id: number, pad: boolean, heartbeatMs = this.timing.heartbeat): LinkRequest {
    const { options, timing } = this
    const streams = this.running.get(id)?.transport !== 'poll'
    return {
      env: this.env,
      base: this.base,
      credentials: options.credentials ?? 'same-origin',
      token: () => this.tokens.current,
      params: () => ({
        after: this.session.position(id) ?? (options.after === 'earliest' ? 'earliest' : undefined),
        topics: [...this.topics()].join(',') || undefined,
        types: options.types?.join(',') || undefined,
        interval: options.interval ? String(options.interval) : undefined,
        heartbeat: streams ? String(Math.ceil(heartbeatMs / 1000)) : undefined,
        session: this.sessionId,
        user: options.user,
      }),
      pad,
      pollWaitMs: timing.pollWait,
      pollSlackMs: timing.pollSlack,
      pollingIntervalMs: timing.pollingInterval,
    }
  }

  private closed(id: number, close: Close): void {
    this.end(id)
    this.dispatch({ type: 'closed', link: id, close })
  }

  private end(id: number): void {
    const running = this.running.get(id)
    if (!running) return
    running.closed = true
    this.running.delete(id)
    this.session.end(id)
    running.link?.close()
    this.replies.lost(id)
  }

  private message(id: number, text: string): boolean {
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      // Cut, or not from the gateway: handled below as not a batch.
    }
    if (isReply(value)) this.replies.settle(value)
    else if (isBatch(value)) return this.batch(id, value)
    else this.closed(id, { kind: 'lost', message: 'not a batch' })
    return false
  }

  private batch(id: number, batch: Batch): boolean {
    const { writer } = this.ladder
    // Ephemeral events have no number to tell a repetition by: only the link in use may bring them.
    const ephemeral = !writer || writer.id === id || writer.provenAt === null
    if (!this.session.receive(id, batch, ephemeral)) {
      this.closed(id, { kind: 'gap', message: 'a batch did not continue from the cursor' })
      return false
    }
    if (batch.hello) this.greeted(id, batch.hello)
    this.dispatch({ type: 'batch', link: id, bye: batch.bye, heartbeatMs: batch.hello?.heartbeat_ms })
    if (batch.expiring) this.renewToken()
    // Not before the proof: the reply would push out what a path that is one message behind holds back.
    if (this.ladder.writer?.id === id && this.transport === 'ws') this.measure(id)
    // A stream ends after its bye; a poll has to be ended.
    if (batch.bye && this.running.get(id)?.transport === 'poll') this.closed(id, { kind: 'busy' })
    return batch.more === true
  }

  private greeted(id: number, hello: Hello): void {
    this.hello = hello
    this.sessionId = hello.session
    if (this.memory.metDeployment(hello.deployment)) this.dispatch({ type: 'forget' })
    this.syncLinkTopics(id)
    this.events.hello(hello)
  }

  /** Hands over what the link in use has brought. */
  private deliver(): void {
    const writer = this.ladder.writer
    if (!writer) return
    if (!this.session.follows(writer.id)) {
      return this.closed(writer.id, { kind: 'gap', message: 'opened before the history was reset' })
    }
    for (const delivery of this.session.drain(writer.id)) this.events.deliver(delivery)
  }

  private syncLinkTopics(id: number): void {
    const running = this.running.get(id)
    if (running?.transport !== 'ws' || !running.link) return
    const wanted = new Set(this.topics())
    const missing = [...wanted].filter((topic) => !running.topics.has(topic))
    const surplus = [...running.topics].filter((topic) => !wanted.has(topic))
    running.topics = wanted
    if (missing.length > 0) this.tell(id, { op: 'subscribe', topics: missing })
    if (surplus.length > 0) this.tell(id, { op: 'unsubscribe', topics: surplus })
  }

  /** Sends a command on one link; what comes of it shows in the state. */
  private tell(id: number, command: Command): void {
    const send = this.running.get(id)?.link?.send
    if (!send) return
    this.replies.ask(id, command, send).catch((error: Error) => {
      this.error = { code: undefined, message: `${command.op}: ${error.message}`, fatal: false }
      this.show()
    })
  }

  private ping(id: number): void {
    const send = this.running.get(id)?.link?.send
    if (!send) return
    const sentAt = this.env.now()
    this.pingedAt = sentAt
    this.replies.ask(id, { op: 'ping' }, send).then(
      () => {
        this.latencyMs = this.env.now() - sentAt
        this.show()
      },
      () => {},
    )
  }

  private measure(id: number): void {
    if (this.latencyMs === null || this.env.now() - this.pingedAt >= PING_EVERY_MS) this.ping(id)
  }

  /** Before the token ends: in band on WebSocket, through a new stream on SSE; a poll takes it along. */
  private renewToken(): void {
    if (!this.tokens.canRefresh) return
    this.tokens.expire('expiring')
    this.tokens.get().then(
      (token) => {
        const writer = this.ladder.writer
        if (writer?.transport === 'ws' && token) this.tell(writer.id, { op: 'auth', token })
        else if (writer?.transport === 'sse') this.dispatch({ type: 'reopen' })
      },
      () => {}, // The gateway will end the session, and then the token is asked for again.
    )
  }

  /** For transports that cannot send in band; `session` says whose command it is. */
  private async post(command: Command): Promise<unknown> {
    if (!this.sessionId) {
      // A poller that began from a cursor of its own has not met a hello yet.
      const answer = await this.http('v1/poll', { wait: '0' })
      if (isBatch(answer)) this.sessionId = answer.hello?.session
    }
    const reply = await this.http('v1/send', { session: this.sessionId }, JSON.stringify({ id: '1', ...command }))
    if (!isReply(reply)) throw unavailable('not a reply')
    if (reply.error) throw new CommandError(reply.error)
    return reply.ok ?? {}
  }

  /** One request beside the links, with the same identity. */
  async http(path: string, params: Record<string, string | undefined>, body?: string): Promise<unknown> {
    if (!this.env.fetch) throw unavailable('no fetch here')
    await this.tokens.get()
    const request = { ...this.request(0, false), params: () => ({ user: this.options.user, ...params }) }
    const abort = new AbortController()
    const timer = this.env.setTimeout(() => abort.abort(), this.timing.reply)
    try {
      const init = fetchInit(request, abort.signal)
      if (body !== undefined) {
        Object.assign(init, { method: 'POST', body, headers: { ...init.headers, 'content-type': 'application/json' } })
      }
      const response = await this.env.fetch(address(request, path), init)
      if (response.ok) return await response.json()
      const problem = (await response.json().catch(() => ({}))) as { code?: string; detail?: string }
      throw new CommandError({
        code: problem.code ?? 'unavailable',
        message: problem.detail ?? `HTTP ${response.status}`,
      })
    } finally {
      this.env.clearTimeout(timer)
    }
  }

  private schedule(): void {
    const at = this.ladder.wakeAt
    // A timer that fires early costs one tick; setting it anew for every message costs more.
    if (at >= this.timerAt && this.timerAt > this.env.now()) return
    this.env.clearTimeout(this.timer)
    this.timerAt = at
    if (at === Number.POSITIVE_INFINITY) return
    this.timer = this.env.setTimeout(
      () => {
        this.timerAt = Number.POSITIVE_INFINITY
        this.dispatch({ type: 'tick' })
      },
      Math.max(0, at - this.env.now()),
    )
  }

  /** Tells the owner when something that it shows has changed; a moving cursor alone is not shown. */
  private show(): void {
    const { transport } = this
    if (transport && !this.lastTransport) this.error = null
    else if (this.ladder.error) this.error = clientError(this.ladder.error)
    this.lastTransport = transport
    const { phase, retryCount, retryAt } = this.ladder
    const shown = JSON.stringify([phase, transport, retryCount, retryAt, this.latencyMs, this.error])
    if (shown === this.lastShown) return
    this.lastShown = shown
    this.events.changed()
  }
}
