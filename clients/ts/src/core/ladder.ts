import { Blame } from './blame.js'
import { Climb } from './climb.js'
import type { Close, Effect, Input, LinkState, PageSignal, Phase, SwitchReason } from './ladder-types.js'
import { RANK } from './ladder-types.js'
import { deadline, score, silentFor, suspectAfter, troubled } from './link-rules.js'
import type { Bye, Transport } from './protocol.js'
import type { Timing } from './timing.js'

/** Links being opened best first, the next one when the last has not been proven in time. */
interface Race {
  readonly rungs: Transport[]
  nextAt: number
  /** Climbing beside a link that works. */
  readonly probe: boolean
}

/** How the ladder is set up. */
export interface LadderOptions {
  readonly transports: readonly Transport[]
  readonly timing: Timing
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** Whether a refused token can be replaced. */
  readonly canRefresh: boolean
}

/**
 * Chooses, falls and climbs: a state machine without clock, sockets or promises. `step` takes what happened and
 * the time, changes the state, and returns what to do; `wakeAt` says when to call with a `tick`.
 */
export class Ladder {
  phase: Phase = 'idle'
  readonly links: LinkState[] = []
  /** The link that may write to the application. */
  writer: LinkState | null = null
  /** When the next attempt starts; null: none is planned. */
  retryAt: number | null = null
  /** Rounds in which nothing was proven, since the last stable link. */
  retryCount = 0
  /** Why it stopped for good. */
  error: Close | null = null
  /** When `step` wants a `tick`; Infinity: not at all. */
  wakeAt = Number.POSITIVE_INFINITY

  private readonly blame: Blame
  private readonly climb: Climb
  private readonly timing: Timing
  private readonly random: () => number
  private started = false
  private visible = true
  private online = true
  private away = false
  private everProven = false
  private tokenRefused = false
  private ceiling = RANK.ws
  private resumedAt = Number.NEGATIVE_INFINITY
  private wokenAt = Number.NEGATIVE_INFINITY
  private hiddenAt = 0
  private nextId = 1
  private race: Race | null = null
  private settledOn: Transport | null = null
  private lastReason: SwitchReason = 'first'
  /** How the latest link ended: decides the wait before the next round. */
  private ended = { stable: false, hintMs: 0 }
  private now = 0
  private out: Effect[] = []

  constructor(private readonly options: LadderOptions) {
    this.timing = options.timing
    this.random = options.random
    this.blame = new Blame(options.timing)
    this.climb = new Climb(options.timing, options.random)
  }

  /** Takes one input at the time `now` (milliseconds, never falling) and returns what to do, in order. */
  step(input: Input, now: number): Effect[] {
    this.now = now
    this.out = []
    if (now - this.wakeAt >= this.timing.late) this.slept()
    this.take(input)
    if (this.started) {
      this.enforceDeadlines()
      this.startDueRaces()
      this.openDueRungs()
      this.settle()
    }
    this.phase = this.currentPhase()
    this.wakeAt = this.started ? this.nextWake() : Number.POSITIVE_INFINITY
    return this.out
  }

  private take(input: Input): void {
    switch (input.type) {
      case 'start':
        if (this.started) return
        this.started = true
        this.everProven = false
        this.error = null
        this.ended = { stable: false, hintMs: 0 }
        this.retryAt = this.now
        return
      case 'stop':
        return this.stop(input.error ?? null)
      case 'page':
        return this.page(input.signal)
      case 'blocked':
        return this.blame.block(input.transport, input.until)
      case 'forget':
        return this.forget()
      case 'reopen':
        return this.reopen()
      case 'prefer':
        this.ceiling = input.transport ? RANK[input.transport] : RANK.ws
        if (this.writer && RANK[this.writer.transport] > this.ceiling) this.reopen()
        else this.climb.hurry(this.now)
        return
      case 'tick':
        return
      default: {
        const link = this.links.find((candidate) => candidate.id === input.link)
        if (link) this.takeFromLink(link, input)
      }
    }
  }

  private takeFromLink(link: LinkState, input: Extract<Input, { link: number }>): void {
    if (input.type === 'closed') {
      const reason = link.bye ? 'bye' : reasonOf(link, input.close)
      return this.gone(link, input.close, reason)
    }
    if (input.type === 'lagging') return this.fail(link, 'buffered')
    link.heardAt = this.now
    link.pingAt = null
    link.suspect = false
    link.openedAt ??= this.now
    if (input.type !== 'batch') return
    if (input.heartbeatMs) link.heartbeatMs = input.heartbeatMs
    if (link.firstAt !== null || link.transport === 'poll') this.proven(link)
    link.firstAt ??= this.now
    if (input.bye) this.bye(link, input.bye)
  }

  private proven(link: LinkState): void {
    if (link.provenAt !== null) return
    link.provenAt = this.now
    this.everProven = true
    this.tokenRefused = false
    this.blame.proven(link.transport, this.now)
    this.judge()
    if (this.race) {
      const open = this.race.rungs.filter((rung) => RANK[rung] > RANK[link.transport])
      this.race.rungs.splice(0, this.race.rungs.length, ...open)
    }
  }

  private bye(link: LinkState, bye: Bye): void {
    link.leaving = true
    link.bye = bye.reason
    if (bye.reason === 'expired_token') this.out.push({ do: 'refresh' })
    if (link !== this.writer || bye.reason === 'disconnected') return
    if (bye.reason === 'replaced') this.out.push({ do: 'anew' })
    this.retryAt = this.now + Math.max(0, bye.reconnect_after_ms)
  }

  private page(signal: PageSignal): void {
    const wasVisible = this.visible
    if (signal === 'online' || signal === 'network') this.forget()
    if (signal === 'offline') {
      this.online = false
      this.race = null
    } else if (signal === 'hidden') {
      this.visible = false
      this.hiddenAt = this.now
    } else if (signal === 'pagehide') {
      this.away = true
      this.race = null
      for (const link of [...this.links]) this.drop(link)
    } else {
      if (signal === 'online') this.online = true
      if (signal === 'visible') this.visible = true
      this.away = false
      if (this.visible && !wasVisible) {
        this.resumedAt = this.now
        if (this.now - this.hiddenAt >= this.timing.longHidden) this.climb.hurry(this.now)
      }
      this.wake()
    }
  }

  /** The page is in use again: look at the link, or try at once. Several signals tell of one return. */
  private wake(): void {
    if (this.writer) {
      if (this.now - this.wokenAt >= this.timing.late) this.ping(this.writer)
    } else if (this.started && !this.race) this.retryAt = this.now
    this.wokenAt = this.now
  }

  /** The clock jumped: whatever looks overdue has not had its time. Probe, never judge. */
  private slept(): void {
    this.resumedAt = this.now
    for (const link of this.links) {
      link.graceFrom = this.now
      link.pingAt = null
      if (link.provenAt !== null) this.ping(link)
    }
  }

  private ping(link: LinkState): void {
    if (link.transport !== 'ws' || link.pingAt !== null || link.openedAt === null) return
    link.pingAt = this.now
    this.out.push({ do: 'ping', link: link.id })
  }

  private forget(): void {
    this.resumedAt = this.now
    this.blame.clear()
    this.climb.hurry(this.now)
    this.out.push({ do: 'forget' })
  }

  /** Same transport, new parameters, beside the old link until it is proven. */
  private reopen(): void {
    const writer = this.writer
    if (!writer) return
    for (const link of [...this.links]) if (link !== writer) this.drop(link)
    writer.leaving = true
    const rank = Math.min(RANK[writer.transport], this.ceiling)
    this.race = { rungs: this.allowed().filter((rung) => RANK[rung] <= rank), nextAt: this.now, probe: false }
  }

  private enforceDeadlines(): void {
    for (const link of [...this.links]) {
      if (link.closeAt !== null && this.now >= link.closeAt) this.drop(link)
      else if (link.provenAt === null) {
        const due = deadline(link, this.timing)
        if (this.now >= due.at) this.fail(link, due.reason)
      } else this.watch(link, link.provenAt)
    }
  }

  private watch(link: LinkState, provenAt: number): void {
    if (!link.stable && this.now - provenAt >= this.timing.stable) {
      link.stable = true
      this.retryCount = 0
      this.blame.stable(link.transport)
    }
    if (link.transport === 'poll') return
    const silence = silentFor(link, this.now, this.timing)
    const unanswered = link.pingAt !== null && this.now - link.pingAt >= this.timing.pong
    if (unanswered || silence >= link.heartbeatMs + this.timing.dead) return this.fail(link, 'silent')
    if (silence < suspectAfter(link, this.timing) || link.suspect || !this.online) return
    link.suspect = true
    this.ping(link)
    if (link === this.writer && !this.race && this.visible) this.startRace(false)
  }

  private fail(link: LinkState, reason: SwitchReason): void {
    this.out.push({ do: 'close', link: link.id })
    this.gone(link, { kind: 'lost' }, reason)
  }

  /** Closes a link that is not needed. */
  private drop(link: LinkState): void {
    this.out.push({ do: 'close', link: link.id })
    this.remove(link)
  }

  private remove(link: LinkState): void {
    this.links.splice(this.links.indexOf(link), 1)
    if (this.writer === link) this.writer = null
  }

  private gone(link: LinkState, close: Close, reason: SwitchReason): void {
    const unneeded = link.closeAt !== null
    const wasWriter = link === this.writer
    this.remove(link)
    if (!unneeded) {
      this.lastReason = reason
      this.out.push({ do: 'lost', transport: link.transport, reason, close })
    }
    if (close.kind === 'fatal' && !unneeded && !(link.bye === 'replaced')) return this.stop(close)
    if (link.bye === 'disconnected') return this.stop({ ...close, kind: 'fatal' })
    if (close.kind === 'auth' && !unneeded) return this.tokenTurnedDown(close)
    // It began where another link has since moved on from: once more, from there.
    if (close.kind === 'gap' && link.provenAt === null && !link.second && !unneeded)
      return this.open(link.transport, link.probe, true, false)
    this.climb.ended(link, this.now, RANK[link.transport] === this.topRank())
    if (!unneeded && !link.leaving && close.kind === 'lost' && !link.stable) {
      if (reason === 'buffered' && link.transport === 'sse' && !link.second && link.provenAt === null) {
        return this.open('sse', link.probe, true, true)
      }
      if (link.provenAt !== null) this.blame.flaky.add(link.transport)
      this.blameFailure(link.transport, reason === 'buffered' ? 3 : 1)
    }
    if (this.race) this.race.nextAt = close.kind === 'lost' ? this.now : this.now + this.timing.stage
    if (wasWriter || !this.writer) {
      this.ended = { stable: link.stable, hintMs: Math.max(this.ended.hintMs, close.retryAfterMs ?? 0) }
    }
  }

  /** One forced refresh, then every transport from the top again; a second refusal in a row is final. */
  private tokenTurnedDown(close: Close): void {
    if (this.tokenRefused || !this.options.canRefresh) return this.stop({ ...close, kind: 'fatal' })
    this.tokenRefused = true
    this.out.push({ do: 'refresh' })
    for (const link of [...this.links]) if (link.provenAt === null) this.drop(link)
    this.race = null
    if (this.writer) this.climb.hurry(this.now)
    else this.retryAt = this.now
  }

  private blameFailure(transport: Transport, weight: number): void {
    if (!this.fair()) return
    this.blame.failed(transport, this.now, weight)
    this.judge()
  }

  /** Failures of a page that is hidden, offline, or was so a moment ago say nothing about a transport. */
  private fair(): boolean {
    return this.visible && this.online && this.now - this.resumedAt >= this.timing.blame
  }

  private judge(): void {
    if (!this.fair()) return
    const writer = this.writer
    const alive = writer?.provenAt != null && !writer.suspect && this.now - writer.heardAt < this.timing.blame
    for (const sentence of this.blame.judge(this.now, alive ? writer.transport : null)) {
      this.out.push({ do: 'remember', ...sentence })
    }
  }

  private stop(error: Close | null): void {
    for (const link of [...this.links]) this.drop(link)
    this.started = false
    this.error = error
    this.race = null
    this.retryAt = null
    this.retryCount = 0
    this.settledOn = null
    this.climb.reset()
  }

  private startDueRaces(): void {
    // A planned renewal goes on in the background; a reconnect waits until the page is looked at.
    const renewal = this.writer?.leaving === true || !this.everProven
    if (this.retryAt !== null && this.now >= this.retryAt && this.online && !this.away && (this.visible || renewal)) {
      this.startRace(false)
    }
    if (this.race || !this.writer || !this.visible || !this.online) return
    if (this.climb.due(this.now)) this.startRace(true)
  }

  private startRace(probe: boolean): void {
    const rank = probe && this.writer ? RANK[this.writer.transport] : -1
    const allowed = this.allowed().filter((rung) => RANK[rung] > rank)
    const free = allowed.filter((rung) => !this.blame.blocked(rung, this.now))
    this.race = { rungs: free.length > 0 || probe ? free : allowed, nextAt: this.now, probe }
    if (!probe) this.retryAt = null
  }

  private openDueRungs(): void {
    const race = this.race
    while (race && race.rungs.length > 0 && this.now >= race.nextAt) {
      const rung = race.rungs.shift() as Transport
      const flying = this.links.some(
        (link) => link.transport === rung && link.provenAt === null && link.closeAt === null,
      )
      if (flying) continue
      // One that failed a moment ago does not get the others to wait for it.
      if (race.probe || !this.blame.doubtful(rung)) race.nextAt = this.now + this.timing.stage
      this.open(rung, race.probe, false, false)
    }
  }

  private open(transport: Transport, probe: boolean, second: boolean, pad: boolean): void {
    const link: LinkState = {
      id: this.nextId++,
      transport,
      startedAt: this.now,
      heartbeatMs: this.climb.heartbeatMs,
      second,
      probe,
      openedAt: null,
      firstAt: null,
      provenAt: null,
      stable: false,
      heardAt: this.now,
      graceFrom: 0,
      pingAt: null,
      suspect: false,
      leaving: false,
      bye: null,
      closeAt: null,
    }
    this.links.push(link)
    this.out.push({ do: 'open', link: link.id, transport, pad, heartbeatMs: link.heartbeatMs })
  }

  /** Picks the writer, closes what lost, and plans what comes next. */
  private settle(): void {
    const best = this.links.reduce<LinkState | null>((top, link) => {
      if (score(link) < 0) return top
      if (!top || score(link) > score(top)) return link
      return score(link) === score(top) && link === this.writer ? link : top
    }, null)
    if (best) best.closeAt = best === this.writer ? best.closeAt : null
    this.writer = best
    if (best?.provenAt != null) this.settled(best)
    const flying = this.links.some((link) => link.provenAt === null && link.closeAt === null)
    if (this.race && this.race.rungs.length === 0 && !flying) this.race = null
    this.climb.plan(this.now, best, this.topRung(), this.blame.worked)
    const needed = !best || best.leaving
    if (needed && !flying && !this.race && this.retryAt === null && !this.away) this.planRetry()
  }

  private settled(writer: LinkState): void {
    if (this.settledOn !== writer.transport) {
      const upgrade = this.settledOn !== null && RANK[writer.transport] > RANK[this.settledOn]
      const reason = this.settledOn === null ? 'first' : upgrade ? 'upgrade' : this.lastReason
      this.out.push({ do: 'switched', from: this.settledOn, to: writer.transport, reason })
      if (upgrade && writer.probe) this.climb.switched(this.now)
      this.settledOn = writer.transport
    }
    if (troubled(writer)) {
      // Whatever is coming up may be needed, but two links in trouble are not better than one.
      for (const link of this.links) if (link !== writer && link.provenAt !== null) this.lost(link)
      return
    }
    if (this.race && !this.race.probe) {
      const above = this.race.rungs.filter((rung) => RANK[rung] > RANK[writer.transport])
      this.race.rungs.splice(0, this.race.rungs.length, ...above)
    }
    for (const link of this.links) {
      if (link !== writer && (link.provenAt !== null || RANK[link.transport] <= RANK[writer.transport])) this.lost(link)
    }
  }

  /** It stays for a moment, in case the winner dies young. */
  private lost(link: LinkState): void {
    link.closeAt ??= this.now + this.timing.linger
  }

  private planRetry(): void {
    const { retryBase, retryMax, retryProven } = this.timing
    const { stable, hintMs } = this.ended
    const ceiling = stable ? retryProven : Math.min(retryMax, retryBase * 2 ** Math.min(this.retryCount, 20))
    const wait = this.random() * ceiling
    this.retryAt = this.now + (hintMs > 0 ? hintMs + Math.min(wait, retryProven) : wait)
    this.ended = { stable: false, hintMs: 0 }
    this.retryCount += 1
  }

  private allowed(): Transport[] {
    const usable = this.options.transports.filter((rung) => RANK[rung] <= this.ceiling)
    return (usable.length > 0 ? usable : [...this.options.transports]).sort((a, b) => RANK[b] - RANK[a])
  }

  private topRung(): Transport | null {
    return this.allowed().find((rung) => !this.blame.blocked(rung, this.now)) ?? null
  }

  private topRank(): number {
    const top = this.topRung()
    return top === null ? -1 : RANK[top]
  }

  private currentPhase(): Phase {
    if (!this.started) return this.error || this.phase !== 'idle' ? 'closed' : 'idle'
    if (this.writer?.provenAt != null) return this.writer.transport === 'poll' ? 'degraded' : 'live'
    if (!this.online) return 'offline'
    if (this.away || (!this.visible && this.links.length === 0)) return 'paused'
    return this.everProven ? 'recovering' : 'connecting'
  }

  private nextWake(): number {
    const times: number[] = []
    const active = this.online && !this.away
    if (this.retryAt !== null && active && (this.visible || this.writer?.leaving || !this.everProven))
      times.push(this.retryAt)
    if (this.race && this.race.rungs.length > 0) times.push(this.race.nextAt)
    if (active && this.visible && !this.race && this.writer) times.push(this.climb.nextAt)
    for (const rung of this.allowed()) {
      const until = this.blame.until(rung, this.now)
      if (until !== null) times.push(until)
    }
    for (const link of this.links) {
      if (link.closeAt !== null) times.push(link.closeAt)
      if (link.provenAt === null) times.push(deadline(link, this.timing).at)
      else {
        if (!link.stable) times.push(link.provenAt + this.timing.stable)
        if (link.transport === 'poll') continue
        const since = this.now - silentFor(link, this.now, this.timing)
        if (link.pingAt !== null) times.push(link.pingAt + this.timing.pong)
        times.push(
          since +
            (link.suspect || !this.online ? link.heartbeatMs + this.timing.dead : suspectAfter(link, this.timing)),
        )
      }
    }
    return Math.min(Number.POSITIVE_INFINITY, ...times)
  }
}

function reasonOf(link: LinkState, close: Close): SwitchReason {
  if (close.kind === 'gap' || close.kind === 'auth') return close.kind
  return link.openedAt === null ? 'refused' : 'lost'
}
