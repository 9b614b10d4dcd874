import { createBlame } from './blame.js'
import { createClimb } from './climb.js'
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
  readonly climbing: boolean
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
export function createLadder({ transports, timing, random, canRefresh }: LadderOptions, effects: Effects) {
  const blame = createBlame(timing)
  const climb = createClimb(timing, random)
  let links: LinkState[] = []
  let writer: LinkState | null = null
  let retryAt = 0
  let retryCount = 0
  let lastClose: Close | null = null
  let wakeAt = Infinity
  let now = 0
  let dirty = false
  let started = false
  let everStarted = false
  let everProven = false
  let visible = true
  let online = true
  let away = false
  let tokenRefused = false
  let ceiling = RANK.ws
  let resumedAt = -Infinity
  let wokenAt = -Infinity
  let hiddenAt = 0
  let race: Race | null = null
  let settledOn: Transport | null = null
  let lastReason: SwitchReason = 'first'
  // The latest round had a stable link, and the longest wait that was asked for in it.
  let roundStable = false
  let roundWaitMs = 0

  /** Takes one input at this time (milliseconds, never falling). */
  function step(time: number, input?: () => void): void {
    now = time
    if (now - wakeAt >= timing.late) slept()
    input?.()
    do {
      dirty = false
      wakeAt = Infinity
      if (started) pass()
    } while (dirty)
  }

  function phase(): Phase {
    if (!started) return everStarted ? 'closed' : 'idle'
    if (writer?.provenAt) return writer.transport === 'poll' ? 'degraded' : 'live'
    if (!online) return 'offline'
    if (away || !(visible || links.length)) return 'paused'
    return everProven ? 'recovering' : 'connecting'
  }

  // Inputs, all within `step`.

  function start(): void {
    if (started) return
    started = everStarted = true
    everProven = tokenRefused = false
    lastClose = null
    retryAt = now
  }

  function stop(close: Close | null): void {
    for (const link of links) drop(link)
    started = false
    lastClose = close
    race = settledOn = null
    retryAt = retryCount = roundWaitMs = 0
    climb.reset()
  }

  /** Any byte. The first one also tells that the link is open. */
  function heard(link: LinkState): void {
    link.heardAt = now
    link.pingAt = 0
    link.suspect = false
    link.openedAt ||= now
  }

  function batch(link: LinkState, bye?: Bye): void {
    heard(link)
    if (!link.provenAt && (link.firstAt || link.transport === 'poll')) {
      link.provenAt = now
      everProven = true
      tokenRefused = false
      blame.standing[link.transport].provenAt = now
      judge()
    }
    link.firstAt ||= now
    if (!bye) return
    link.leaving = true
    link.bye = bye.reason
    if (bye.reason === 'expired_token') effects.refreshToken()
    if (link !== writer || bye.reason === 'disconnected') return
    if (bye.reason === 'replaced') effects.newSession()
    retryAt = now + Math.max(0, bye.reconnect_after_ms)
  }

  function closed(link: LinkState, close: Close): void {
    const { kind } = close
    const cut = link.openedAt ? 'lost' : 'refused'
    gone(link, close, link.bye ? 'bye' : kind === 'gap' || kind === 'auth' ? kind : cut)
  }

  function page(signal: PageSignal): void {
    if (signal === 'online' || signal === 'network') forget()
    if (signal === 'offline') {
      online = false
      race = null
    } else if (signal === 'hidden') {
      visible = false
      hiddenAt = now
    } else if (signal === 'pagehide') {
      away = true
      race = null
      for (const link of links) drop(link)
    } else {
      if (signal === 'online') online = true
      if (signal === 'visible' && !visible) {
        visible = true
        resumedAt = now
        if (now - hiddenAt >= timing.longHidden) climb.reset(now)
      }
      away = false
      // Several signals tell of one return.
      if (!writer && !race) retryAt = now
      else if (writer && now - wokenAt >= timing.late) ping(writer)
      wokenAt = now
    }
  }

  /** A negative kept from an earlier page. */
  function block(transport: Transport, until: number): void {
    blame.standing[transport].blockedUntil = until
  }

  /** Another network or deployment: what was learnt does not hold. */
  function forget(): void {
    resumedAt = now
    blame.clear()
    climb.reset(now)
    effects.forget()
  }

  /** Opens the current transport anew beside itself: its parameters changed. */
  function reopen(): void {
    if (!writer) return
    for (const link of links) if (link !== writer) drop(link)
    writer.leaving = true
    startRace(false, Math.min(RANK[writer.transport], ceiling))
  }

  /** Nothing above this transport; null: no limit. */
  function prefer(transport: Transport | null): void {
    ceiling = RANK[transport ?? 'ws']
    if (writer && RANK[writer.transport] > ceiling) reopen()
    else climb.reset(now)
  }

  // What follows from the state and the time.

  /** True when it is time; otherwise notes when it will be. */
  function due(at: number): boolean {
    if (now >= at) return true
    wakeAt = Math.min(wakeAt, at)
    return false
  }

  function pass(): void {
    for (const link of links) if (links.includes(link)) watch(link)
    const attentive = visible && online && !away
    // A planned renewal goes on in the background; a reconnect waits until the page is looked at.
    const renewal = online && !away && (writer?.leaving || !everProven)
    if (retryAt && (attentive || renewal) && due(retryAt)) startRace(false)
    if (!race && writer && attentive && due(climb.nextAt)) {
      dirty = true
      if (climb.take(now)) startRace(true)
    }
    while (race?.rungs.length && due(race.nextAt)) {
      const rung = race.rungs.shift() as Transport
      if (links.some((link) => link.transport === rung && flying(link))) continue
      // One that failed a moment ago does not get the others to wait for it.
      const { flaky, strikes } = blame.standing[rung]
      if (race.climbing || !(flaky || strikes)) race.nextAt = now + timing.stage
      open(rung, race.climbing)
    }
    settle()
  }

  function watch(link: LinkState): void {
    if (link.closeAt && due(link.closeAt)) return drop(link)
    if (!link.provenAt) {
      const [at, reason] = deadline(link, timing)
      if (due(at)) fail(link, reason)
      return
    }
    if (!link.lasting && due(link.provenAt + timing.stable)) {
      link.lasting = true
      retryCount = 0
      // It has worked for a while: what happened before is forgiven.
      Object.assign(blame.standing[link.transport], { weight: 0, strikes: 0, flaky: false })
    }
    if (link.transport === 'poll') return
    const since = silentSince(link, timing)
    if ((link.pingAt && due(link.pingAt + timing.pong)) || due(since + link.heartbeatMs + timing.dead)) {
      return fail(link, 'silent')
    }
    if (!online || link.suspect || !due(since + suspectAfter(link, timing))) return
    link.suspect = dirty = true
    ping(link)
    if (link === writer && !race && visible) startRace(false)
  }

  /** Picks the writer, closes what lost, and plans what comes next. */
  function settle(): void {
    let best: LinkState | null = null
    for (const link of links) {
      const more = score(link) - (best ? score(best) : 0)
      if (more > 0 || (more === 0 && link === writer)) best = link
    }
    if (best && best !== writer) best.closeAt = 0
    writer = best
    if (best?.provenAt) settled(best)
    const waiting = links.some(flying)
    if (!race?.rungs.length && !waiting) race = null
    const top = rungs().find((rung) => due(blame.standing[rung].blockedUntil))
    if (best?.provenAt && top) climb.plan(now, best, top, blame.standing[top].provenAt > 0)
    if (race || waiting || retryAt || away || (best && !best.leaving)) return
    const { retryBase, retryMax, retryProven } = timing
    const wait = random() * (roundStable ? retryProven : Math.min(retryMax, retryBase * 2 ** retryCount))
    retryAt = now + roundWaitMs + (roundWaitMs ? Math.min(wait, retryProven) : wait)
    retryCount += 1
    roundWaitMs = 0
    roundStable = false
    dirty = true
  }

  function settled(writer: LinkState): void {
    const { transport } = writer
    const from = settledOn
    const rank = RANK[transport]
    if (from !== transport) {
      const upgrade = from && rank > RANK[from]
      const reason = upgrade ? 'upgrade' : from ? lastReason : 'first'
      if (upgrade && writer.climbing) climb.upgraded(now)
      settledOn = transport
      effects.report({ type: 'transport', from, to: transport, reason })
    }
    const spare = troubled(writer)
    if (race && !spare) race.rungs = race.rungs.filter((rung) => RANK[rung] > rank)
    for (const link of links) {
      // Two links in trouble are not better than one, but whatever is coming up may be needed.
      if (link === writer || link.closeAt || !(link.provenAt || (!spare && RANK[link.transport] <= rank))) continue
      // It stays for a moment, in case the winner dies young; a poll would only ask again.
      link.closeAt = now + (link.transport === 'poll' ? 0 : timing.linger)
      dirty = true
    }
  }

  function gone(link: LinkState, close: Close, reason: SwitchReason): void {
    const { transport, climbing, provenAt } = link
    const { kind } = close
    const wasWriter = link === writer
    remove(link)
    if (link.bye === 'disconnected') return stop({ ...close, kind: 'fatal' })
    if (link.closeAt) return
    lastReason = reason
    lastClose = close
    effects.report({ type: 'lost', transport, reason, code: close.code })
    if (kind === 'auth') return tokenTurnedDown(close)
    if (kind === 'fatal' && link.bye !== 'replaced') return stop(close)
    // It began where another link has since moved on from: once more, from there.
    if (kind === 'gap' && !provenAt && !link.second) return open(transport, climbing, true)
    if (provenAt) climb.ended(link, now)
    if (kind === 'lost' && !link.leaving && !link.lasting) {
      const buffered = reason === 'buffered'
      if (buffered && !link.second) return open(transport, climbing, true, true)
      const standing = blame.standing[transport]
      if (provenAt) standing.flaky = true
      if (fair()) {
        standing.failedAt = now
        standing.weight = buffered ? 3 : 1
        judge()
      }
    }
    if (race) race.nextAt = now + (kind === 'lost' ? 0 : timing.stage)
    if (wasWriter || !writer) {
      roundStable = link.lasting
      roundWaitMs = Math.max(roundWaitMs, close.waitMs ?? 0)
    }
  }

  /** One forced refresh, then every transport from the top again; a second refusal in a row is final. */
  function tokenTurnedDown(close: Close): void {
    if (tokenRefused || !canRefresh) return stop({ ...close, kind: 'fatal' })
    tokenRefused = true
    effects.refreshToken()
    for (const link of links) if (!link.provenAt) drop(link)
    race = null
    if (writer) climb.reset(now)
    else retryAt = now
  }

  /** Failures of a page that is hidden, offline, or was so a moment ago say nothing about a transport. */
  function fair(): boolean {
    return visible && online && now - resumedAt >= timing.blame
  }

  function judge(): void {
    if (!fair()) return
    if (writer?.provenAt && !writer.suspect && now - writer.heardAt < timing.blame) {
      blame.standing[writer.transport].provenAt = now
    }
    blame.judge(now, effects.remember)
  }

  /** The clock jumped: whatever looks overdue has not had its time. Probe, never judge. */
  function slept(): void {
    resumedAt = now
    for (const link of links) {
      link.graceFrom = now
      link.pingAt = 0
      ping(link)
    }
  }

  function ping(link: LinkState): void {
    if (link.transport !== 'ws' || link.pingAt || !link.provenAt) return
    link.pingAt = now
    effects.ping(link)
  }

  /** @param rank nothing above it, when given. */
  function startRace(probe: boolean, rank = RANK.ws): void {
    const floor = probe && writer ? RANK[writer.transport] : -1
    const all = rungs().filter((rung) => RANK[rung] > floor && RANK[rung] <= rank)
    const free = all.filter((rung) => blame.standing[rung].blockedUntil <= now)
    race = { rungs: probe || free.length ? free : all, nextAt: now, climbing: probe }
    if (!probe) retryAt = 0
    dirty = true
  }

  function open(transport: Transport, climbing: boolean, second = false, pad = false): void {
    const link: LinkState = {
      transport,
      climbing,
      second,
      startedAt: now,
      heartbeatMs: climb.heartbeatMs,
      openedAt: 0,
      firstAt: 0,
      provenAt: 0,
      lasting: false,
      heardAt: now,
      graceFrom: 0,
      pingAt: 0,
      suspect: false,
      leaving: false,
      bye: null,
      closeAt: 0,
    }
    links = [...links, link]
    dirty = true
    effects.open(link, pad)
  }

  function fail(link: LinkState, reason: SwitchReason): void {
    effects.close(link)
    gone(link, { kind: 'lost', message: reason }, reason)
  }

  /** Closes a link that is not needed. */
  function drop(link: LinkState): void {
    effects.close(link)
    remove(link)
  }

  function remove(link: LinkState): void {
    // A new array: whoever walks over the old one sees it unchanged.
    links = links.filter((other) => other !== link)
    if (writer === link) writer = null
    dirty = true
  }

  /** What may be used, best first. */
  function rungs(): Transport[] {
    const usable = transports.filter((rung) => RANK[rung] <= ceiling)
    return [...(usable.length ? usable : transports)].sort((a, b) => RANK[b] - RANK[a])
  }

  return {
    step,
    start,
    stop,
    heard,
    batch,
    closed,
    page,
    block,
    forget,
    reopen,
    prefer,
    get phase() {
      return phase()
    },
    get started() {
      return started
    },
    /** The link that may write to the application. */
    get writer() {
      return writer
    },
    /** When the next attempt starts; 0: none is planned. */
    get retryAt() {
      return retryAt
    },
    /** Rounds in which nothing was proven, since the last stable link. */
    get retryCount() {
      return retryCount
    },
    /** How the latest link ended; after a fatal refusal, the refusal. */
    get lastClose() {
      return lastClose
    },
    /** When `step` has to be called even if nothing happens; Infinity: not at all. */
    get wakeAt() {
      return wakeAt
    },
  }
}

/** What {@link createLadder} makes. */
export type Ladder = ReturnType<typeof createLadder>

/** Under way, and neither proven nor given up. */
const flying = (link: LinkState): boolean => !link.provenAt && !link.closeAt
