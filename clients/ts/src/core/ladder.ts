import { Blame } from './blame.js'
import { Climb } from './climb.js'
import {
  type Close,
  type Effects,
  type LinkState,
  type PageSignal,
  type Phase,
  RANK,
  type SwitchReason,
} from './ladder-types.js'
import { deadline, score, silentSince, suspectAfter, troubled } from './link-rules.js'
import type { Bye, Transport } from './protocol.js'
import type { Timing } from './timing.js'

/** Links being opened best first, the next one when the last has not been proven in time. */
interface Race {
  rungs: Transport[]
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
 * Chooses, falls and climbs: a state machine without clock, sockets or promises. Every input goes through `step`,
 * which sets the time, changes the state, and has done what follows from it. `wakeAt` says when to step next.
 */
export class Ladder {
  links: LinkState[] = []
  /** The link that may write to the application. */
  writer: LinkState | null = null
  /** When the next attempt starts; 0: none is planned. */
  retryAt = 0
  /** Rounds in which nothing was proven, since the last stable link. */
  retryCount = 0
  /** How the latest link ended; after a fatal refusal, the refusal. */
  lastClose: Close | null = null
  started = false
  /** When `step` has to be called even if nothing happens; Infinity: not at all. */
  wakeAt = Infinity

  private readonly blame: Blame
  private readonly climb: Climb
  private readonly timing: Timing
  private readonly random: () => number
  private now = 0
  private dirty = false
  private visible = true
  private online = true
  private away = false
  private everStarted = false
  private everProven = false
  private tokenRefused = false
  private ceiling = RANK.ws
  private resumedAt = -Infinity
  private wokenAt = -Infinity
  private hiddenAt = 0
  private race: Race | null = null
  private settledOn: Transport | null = null
  private lastReason: SwitchReason = 'first'
  /** The latest round had a stable link, and the longest wait that was asked for in it. */
  private roundStable = false
  private roundWaitMs = 0

  constructor(
    private readonly options: LadderOptions,
    private readonly effects: Effects,
  ) {
    this.timing = options.timing
    this.random = options.random
    this.blame = new Blame(options.timing)
    this.climb = new Climb(options.timing, options.random)
  }

  /** Takes one input at the time `now` (milliseconds, never falling). */
  step(now: number, input?: () => void): void {
    this.now = now
    if (now - this.wakeAt >= this.timing.late) this.slept()
    input?.()
    do {
      this.dirty = false
      this.wakeAt = Infinity
      if (this.started) this.pass()
    } while (this.dirty)
  }

  get phase(): Phase {
    if (!this.started) return this.everStarted ? 'closed' : 'idle'
    if (this.writer?.provenAt) return this.writer.transport === 'poll' ? 'degraded' : 'live'
    if (!this.online) return 'offline'
    if (this.away || !(this.visible || this.links.length)) return 'paused'
    return this.everProven ? 'recovering' : 'connecting'
  }

  // Inputs, all within `step`.

  start(): void {
    if (this.started) return
    this.started = this.everStarted = true
    this.everProven = this.tokenRefused = false
    this.lastClose = null
    this.retryAt = this.now
  }

  stop(close: Close | null): void {
    for (const link of this.links) this.drop(link)
    this.started = false
    this.lastClose = close
    this.race = this.settledOn = null
    this.retryAt = this.retryCount = this.roundWaitMs = 0
    this.climb.reset()
  }

  /** Any byte. The first one also tells that the link is open. */
  heard(link: LinkState): void {
    link.heardAt = this.now
    link.pingAt = 0
    link.suspect = false
    link.openedAt ||= this.now
  }

  batch(link: LinkState, bye?: Bye): void {
    this.heard(link)
    if (!link.provenAt && (link.firstAt || link.transport === 'poll')) {
      link.provenAt = this.now
      this.everProven = true
      this.tokenRefused = false
      this.blame.standing[link.transport].provenAt = this.now
      this.judge()
    }
    link.firstAt ||= this.now
    if (!bye) return
    link.leaving = true
    link.bye = bye.reason
    if (bye.reason === 'expired_token') this.effects.refreshToken()
    if (link !== this.writer || bye.reason === 'disconnected') return
    if (bye.reason === 'replaced') this.effects.newSession()
    this.retryAt = this.now + Math.max(0, bye.reconnect_after_ms)
  }

  closed(link: LinkState, close: Close): void {
    const { kind } = close
    const cut = link.openedAt ? 'lost' : 'refused'
    this.gone(link, close, link.bye ? 'bye' : kind === 'gap' || kind === 'auth' ? kind : cut)
  }

  page(signal: PageSignal): void {
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
      for (const link of this.links) this.drop(link)
    } else {
      if (signal === 'online') this.online = true
      if (signal === 'visible' && !this.visible) {
        this.visible = true
        this.resumedAt = this.now
        if (this.now - this.hiddenAt >= this.timing.longHidden) this.climb.reset(this.now)
      }
      this.away = false
      // Several signals tell of one return.
      if (!this.writer && !this.race) this.retryAt = this.now
      else if (this.writer && this.now - this.wokenAt >= this.timing.late) this.ping(this.writer)
      this.wokenAt = this.now
    }
  }

  /** A negative kept from an earlier page. */
  block(transport: Transport, until: number): void {
    this.blame.standing[transport].blockedUntil = until
  }

  /** Another network or deployment: what was learnt does not hold. */
  forget(): void {
    this.resumedAt = this.now
    this.blame.clear()
    this.climb.reset(this.now)
    this.effects.forget()
  }

  /** Opens the current transport anew beside itself: its parameters changed. */
  reopen(): void {
    const { writer } = this
    if (!writer) return
    for (const link of this.links) if (link !== writer) this.drop(link)
    writer.leaving = true
    this.startRace(false, Math.min(RANK[writer.transport], this.ceiling))
  }

  /** Nothing above this transport; null: no limit. */
  prefer(transport: Transport | null): void {
    this.ceiling = RANK[transport ?? 'ws']
    if (this.writer && RANK[this.writer.transport] > this.ceiling) this.reopen()
    else this.climb.reset(this.now)
  }

  // What follows from the state and the time.

  /** True when it is time; otherwise notes when it will be. */
  private due(at: number): boolean {
    if (this.now >= at) return true
    this.wakeAt = Math.min(this.wakeAt, at)
    return false
  }

  private pass(): void {
    for (const link of this.links) if (this.links.includes(link)) this.watch(link)
    const attentive = this.visible && this.online && !this.away
    // A planned renewal goes on in the background; a reconnect waits until the page is looked at.
    const renewal = this.online && !this.away && (this.writer?.leaving || !this.everProven)
    if (this.retryAt && (attentive || renewal) && this.due(this.retryAt)) this.startRace(false)
    if (!this.race && this.writer && attentive && this.due(this.climb.nextAt)) {
      this.dirty = true
      if (this.climb.take(this.now)) this.startRace(true)
    }
    const { race } = this
    while (race?.rungs.length && this.due(race.nextAt)) {
      const rung = race.rungs.shift() as Transport
      if (this.links.some((link) => link.transport === rung && flying(link))) continue
      // One that failed a moment ago does not get the others to wait for it.
      const { flaky, strikes } = this.blame.standing[rung]
      if (race.probe || !(flaky || strikes)) race.nextAt = this.now + this.timing.stage
      this.open(rung, race.probe)
    }
    this.settle()
  }

  private watch(link: LinkState): void {
    const { timing } = this
    if (link.closeAt && this.due(link.closeAt)) return this.drop(link)
    if (!link.provenAt) {
      const [at, reason] = deadline(link, timing)
      if (this.due(at)) this.fail(link, reason)
      return
    }
    if (!link.stable && this.due(link.provenAt + timing.stable)) {
      link.stable = true
      this.retryCount = 0
      this.blame.stable(link.transport)
    }
    if (link.transport === 'poll') return
    const since = silentSince(link, timing)
    if ((link.pingAt && this.due(link.pingAt + timing.pong)) || this.due(since + link.heartbeatMs + timing.dead)) {
      return this.fail(link, 'silent')
    }
    if (!this.online || link.suspect || !this.due(since + suspectAfter(link, timing))) return
    link.suspect = this.dirty = true
    this.ping(link)
    if (link === this.writer && !this.race && this.visible) this.startRace(false)
  }

  /** Picks the writer, closes what lost, and plans what comes next. */
  private settle(): void {
    const { writer, now } = this
    let best: LinkState | null = null
    for (const link of this.links) {
      const more = score(link) - (best ? score(best) : 0)
      if (more > 0 || (more === 0 && link === writer)) best = link
    }
    if (best && best !== writer) best.closeAt = 0
    this.writer = best
    if (best?.provenAt) this.settled(best)
    const waiting = this.links.some(flying)
    if (!this.race?.rungs.length && !waiting) this.race = null
    const top = this.rungs().find((rung) => this.due(this.blame.standing[rung].blockedUntil))
    if (best?.provenAt && top) this.climb.plan(now, best, top, this.blame.standing[top].provenAt > 0)
    if (this.race || waiting || this.retryAt || this.away || (best && !best.leaving)) return
    const { retryBase, retryMax, retryProven } = this.timing
    const wait = this.random() * (this.roundStable ? retryProven : Math.min(retryMax, retryBase * 2 ** this.retryCount))
    this.retryAt = now + this.roundWaitMs + (this.roundWaitMs ? Math.min(wait, retryProven) : wait)
    this.retryCount += 1
    this.roundWaitMs = 0
    this.roundStable = false
    this.dirty = true
  }

  private settled(writer: LinkState): void {
    const { transport } = writer
    const from = this.settledOn
    const rank = RANK[transport]
    if (from !== transport) {
      const upgrade = from && rank > RANK[from]
      const reason = upgrade ? 'upgrade' : from ? this.lastReason : 'first'
      if (upgrade && writer.probe) this.climb.upgraded(this.now)
      this.settledOn = transport
      this.effects.report({ type: 'transport', from, to: transport, reason })
    }
    const spare = troubled(writer)
    if (this.race && !spare) this.race.rungs = this.race.rungs.filter((rung) => RANK[rung] > rank)
    for (const link of this.links) {
      // Two links in trouble are not better than one, but whatever is coming up may be needed.
      if (link === writer || link.closeAt || !(link.provenAt || (!spare && RANK[link.transport] <= rank))) continue
      // It stays for a moment, in case the winner dies young; a poll would only ask again.
      link.closeAt = this.now + (link.transport === 'poll' ? 0 : this.timing.linger)
      this.dirty = true
    }
  }

  private gone(link: LinkState, close: Close, reason: SwitchReason): void {
    const { transport, probe, provenAt } = link
    const { kind } = close
    const wasWriter = link === this.writer
    this.remove(link)
    if (link.bye === 'disconnected') return this.stop({ ...close, kind: 'fatal' })
    if (link.closeAt) return
    this.lastReason = reason
    this.lastClose = close
    this.effects.report({ type: 'lost', transport, reason, ...(close.code ? { code: close.code } : {}) })
    if (kind === 'auth') return this.tokenTurnedDown(close)
    if (kind === 'fatal' && link.bye !== 'replaced') return this.stop(close)
    // It began where another link has since moved on from: once more, from there.
    if (kind === 'gap' && !provenAt && !link.second) return this.open(transport, probe, true)
    if (provenAt) this.climb.ended(link, this.now)
    if (kind === 'lost' && !link.leaving && !link.stable) {
      const buffered = reason === 'buffered'
      if (buffered && !link.second) return this.open(transport, probe, true, true)
      const standing = this.blame.standing[transport]
      if (provenAt) standing.flaky = true
      if (this.fair()) {
        standing.failedAt = this.now
        standing.weight = buffered ? 3 : 1
        this.judge()
      }
    }
    if (this.race) this.race.nextAt = this.now + (kind === 'lost' ? 0 : this.timing.stage)
    if (wasWriter || !this.writer) {
      this.roundStable = link.stable
      this.roundWaitMs = Math.max(this.roundWaitMs, close.waitMs ?? 0)
    }
  }

  /** One forced refresh, then every transport from the top again; a second refusal in a row is final. */
  private tokenTurnedDown(close: Close): void {
    if (this.tokenRefused || !this.options.canRefresh) return this.stop({ ...close, kind: 'fatal' })
    this.tokenRefused = true
    this.effects.refreshToken()
    for (const link of this.links) if (!link.provenAt) this.drop(link)
    this.race = null
    if (this.writer) this.climb.reset(this.now)
    else this.retryAt = this.now
  }

  /** Failures of a page that is hidden, offline, or was so a moment ago say nothing about a transport. */
  private fair(): boolean {
    return this.visible && this.online && this.now - this.resumedAt >= this.timing.blame
  }

  private judge(): void {
    if (!this.fair()) return
    const { writer, now } = this
    if (writer?.provenAt && !writer.suspect && now - writer.heardAt < this.timing.blame) {
      this.blame.standing[writer.transport].provenAt = now
    }
    this.blame.judge(now, this.effects.remember)
  }

  /** The clock jumped: whatever looks overdue has not had its time. Probe, never judge. */
  private slept(): void {
    this.resumedAt = this.now
    for (const link of this.links) {
      link.graceFrom = this.now
      link.pingAt = 0
      this.ping(link)
    }
  }

  private ping(link: LinkState): void {
    if (link.transport !== 'ws' || link.pingAt || !link.provenAt) return
    link.pingAt = this.now
    this.effects.ping(link)
  }

  /** @param rank nothing above it, when given. */
  private startRace(probe: boolean, rank = RANK.ws): void {
    const floor = probe && this.writer ? RANK[this.writer.transport] : -1
    const rungs = this.rungs().filter((rung) => RANK[rung] > floor && RANK[rung] <= rank)
    const free = rungs.filter((rung) => this.blame.standing[rung].blockedUntil <= this.now)
    this.race = { rungs: probe || free.length ? free : rungs, nextAt: this.now, probe }
    if (!probe) this.retryAt = 0
    this.dirty = true
  }

  private open(transport: Transport, probe: boolean, second = false, pad = false): void {
    const { now } = this
    const link: LinkState = {
      transport,
      probe,
      second,
      startedAt: now,
      heartbeatMs: this.climb.heartbeatMs,
      openedAt: 0,
      firstAt: 0,
      provenAt: 0,
      stable: false,
      heardAt: now,
      graceFrom: 0,
      pingAt: 0,
      suspect: false,
      leaving: false,
      bye: null,
      closeAt: 0,
    }
    this.links = [...this.links, link]
    this.dirty = true
    this.effects.open(link, pad)
  }

  private fail(link: LinkState, reason: SwitchReason): void {
    this.effects.close(link)
    this.gone(link, { kind: 'lost', message: reason }, reason)
  }

  /** Closes a link that is not needed. */
  private drop(link: LinkState): void {
    this.effects.close(link)
    this.remove(link)
  }

  private remove(link: LinkState): void {
    // A new array: whoever walks over the old one sees it unchanged.
    this.links = this.links.filter((other) => other !== link)
    if (this.writer === link) this.writer = null
    this.dirty = true
  }

  /** What may be used, best first. */
  private rungs(): Transport[] {
    const { transports } = this.options
    const usable = transports.filter((rung) => RANK[rung] <= this.ceiling)
    return [...(usable.length ? usable : transports)].sort((a, b) => RANK[b] - RANK[a])
  }
}

/** Under way, and neither proven nor given up. */
const flying = (link: LinkState): boolean => !link.provenAt && !link.closeAt
