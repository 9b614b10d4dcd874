import { createBlame } from './blame.js'
import { createClimb } from './climb.js'
import type { Close } from './close.js'
import type { PageSignal } from './env.js'
import type { LadderOptions, LinkState, Phase, Race, SwitchReason } from './ladder-types.js'
import { deadline, flying, score, suspectAt, troubled } from './link-rules.js'
import type { Bye, Transport } from './protocol.js'
import { NAMES, POLL, type Rung, rungOf, SSE, WS } from './rung.js'
import {
  BLAME_MS,
  BUFFERED_MS,
  BUSY_MS,
  CONNECT_MS,
  CONNECT_SLOW_MS,
  DEAD_MS,
  LATE_MS,
  LINGER_MS,
  LIVED_MS,
  LONG_HIDDEN_MS,
  PONG_MS,
  RETRY_BASE_MS,
  RETRY_MAX_MS,
  RETRY_PROVEN_MS,
  RETRY_SEEN_MS,
  STAGE_MS,
} from './timing.js'

/**
 * Chooses, falls and climbs: a state machine without clock, sockets or promises. Every input goes
 * through `step`, which sets the time and changes the state. `wakeAt` says when to step next.
 */
// Its inner functions share the state of one ladder: a class would only spell each of them `this.`.
export function createLadder({ transports, timing, random, canRefresh, memory, effects }: LadderOptions) {
  const blame = createBlame(memory)
  const { standing } = blame
  const climb = createClimb(timing, random)
  /** Best first. */
  const all = transports.map(rungOf).sort((a, b) => b - a)
  let links: readonly LinkState[] = []
  let writer: LinkState | null = null
  let retryAt = 0
  let retryCount = 0
  let lastClose: Close | null = null
  let wakeAt = Infinity
  let now = 0
  let dirty = false
  /** Undefined until it is for the first time. */
  let started: boolean | undefined
  let everProven = false
  let visible = true
  let online = true
  let away = false
  let tokenRefused = false
  let ceiling: Rung = WS
  let resumedAt = 0
  let busyAt = 0
  let hiddenAt = 0
  let race: Race | null = null
  let settledOn: Rung | -1 = -1
  let lastReason: SwitchReason = 'first'
  // The latest round had a link that lived, and the longest wait that was asked for in it.
  let roundLived = false
  let roundWaitMs = 0

  /** Takes one input at this time (milliseconds, never falling). */
  function step(time: number, input?: () => void): void {
    now = time
    if (now - wakeAt >= LATE_MS) slept()
    input?.()
    do {
      dirty = false
      wakeAt = Infinity
      if (started) pass()
    } while (dirty)
  }

  function phase(): Phase {
    if (!started) return started === undefined ? 'idle' : 'closed'
    if (writer?.provenAt) return writer.rung === POLL ? 'degraded' : 'live'
    if (!online) return 'offline'
    if (away || !(visible || links.length)) return 'paused'
    return everProven ? 'recovering' : 'connecting'
  }

  // Inputs, all within `step`.

  function start(isVisible: boolean, isOnline: boolean): void {
    if (started) return
    started = true
    visible = isVisible
    online = isOnline
    everProven = tokenRefused = away = false
    lastClose = null
    retryAt = now
    // What the browser says of the network may be wrong: the first attempt is made in any case.
    for (const rung of all) standing(rung).blockedUntil = memory.blockedUntil(rung, now)
  }

  function stop(close: Close | null): void {
    links.forEach(drop)
    started = false
    lastClose = close
    race = null
    settledOn = -1
    retryAt = retryCount = roundWaitMs = 0
    climb.reset()
  }

  /** Its request is on its way: until now it waited for a token, which is no transport's fault. */
  function asked(link: LinkState): void {
    link.graceFrom = now
    if (race) race.nextAt += now - link.startedAt
  }

  /**
   * Any byte. The first one also tells that the link is open.
   * @param owes more has to follow within moments.
   */
  function heard(link: LinkState, owes = false): void {
    link.heardAt = now
    link.owes = owes
    link.pingAt = 0
    link.suspect = false
    link.openedAt ||= now
  }

  function batch(link: LinkState, owes: boolean, bye?: Bye): void {
    const { rung } = link
    heard(link, owes && rung === SSE)
    if (!link.provenAt && (link.firstAt || rung === POLL)) {
      link.provenAt = now
      // Whatever the browser says.
      standing(rung).proven = everProven = online = true
      tokenRefused = false
      judge(link)
    }
    link.firstAt ||= now
    if (!bye) return
    const { reason } = bye
    link.bye = reason
    // By an operator: nothing follows it.
    if (reason === 'disconnected') return
    link.leaving = true
    if (link === writer) retryAt = now + Math.max(0, bye.reconnect_after_ms)
  }

  function closed(link: LinkState, close: Close): void {
    const { kind } = close
    if (!links.includes(link)) return
    gone(link, close, link.bye ? 'bye' : kind === 'gap' || kind === 'auth' ? kind : link.openedAt ? 'lost' : 'refused')
  }

  function page(signal: PageSignal): void {
    const moved = signal === 'online' || signal === 'network'
    if (moved) forget()
    if (signal === 'offline') online = false
    else if (signal === 'hidden') {
      visible = false
      hiddenAt = now
    } else if (signal === 'pagehide') away = true
    else {
      if (signal === 'online') online = true
      if (signal === 'visible' && !visible) {
        visible = true
        resumedAt = now
        if (now - hiddenAt >= LONG_HIDDEN_MS) climb.reset(now)
      }
      away = false
      // Several signals tell of one return: what they start is under way when the second comes.
      if (writer) {
        // The connections of the former network may be dead without a word.
        if (moved) writer.pingAt = 0
        if (moved && writer.rung === SSE) doubt(writer)
        else ping(writer)
      } else if (!race) retryAt = now
    }
  }

  /** Another network or deployment: what was learnt does not hold. */
  function forget(): void {
    resumedAt = now
    blame.clear()
    climb.reset(now)
  }

  /** Opens the current transport anew beside itself: its parameters changed. */
  function reopen(): void {
    if (!writer) return
    for (const link of links) if (link !== writer) drop(link)
    writer.leaving = true
    startRace(false, writer.rung)
  }

  /** Nothing above this transport; null: no limit. */
  function prefer(transport: Transport | null): void {
    ceiling = transport ? rungOf(transport) : WS
    if (writer && writer.rung > ceiling) reopen()
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
    if (away) links.forEach(drop)
    if (away) race = null
    for (const link of links) if (links.includes(link)) watch(link)
    // A planned renewal goes on in the background; a reconnect waits until the page is looked at.
    if (retryAt && !away && (visible || writer?.leaving || !everProven) && due(retryAt)) startRace(false)
    if (!race && writer && online && !away && visible && due(climb.nextAt)) {
      dirty = true
      if (climb.take(now)) startRace(true)
    }
    const tokenless = links.some(({ graceFrom }) => graceFrom > now)
    while (!tokenless && race?.rungs.length && due(race.nextAt)) {
      const rung = race.rungs.shift() as Rung
      if (links.some((link) => link.rung === rung && flying(link))) continue
      // One that failed a moment ago does not get the others to wait for it.
      const { flaky, strikes } = standing(rung)
      if (race.climbing || !(flaky || strikes)) race.nextAt = now + STAGE_MS
      open(rung, race.climbing)
    }
    settle()
  }

  function watch(link: LinkState): void {
    const { rung, provenAt } = link
    if (link.closeAt && due(link.closeAt)) return drop(link)
    if (!provenAt) {
      const [at, reason] = deadline(link, writer)
      if (due(at)) fail(link, reason)
      return
    }
    if (!link.lasting && due(provenAt + timing.stable)) {
      link.lasting = true
      retryCount = 0
      // It has worked for a while: what happened before is forgiven.
      Object.assign(standing(rung), { weight: 0, strikes: 0, flaky: false })
    }
    if (rung === POLL) return
    const deadAt = Math.max(link.heardAt + link.heartbeatMs, link.graceFrom) + DEAD_MS
    if ((link.pingAt && due(link.pingAt + PONG_MS)) || due(deadAt)) return fail(link, 'silent')
    if (online && !link.suspect && due(suspectAt(link, timing.fallbackDelay))) doubt(link)
  }

  /** Asks a link whether it lives, and starts another beside it. */
  function doubt(link: LinkState): void {
    link.suspect = dirty = true
    lastReason = link.owes ? 'buffered' : 'silent'
    ping(link)
    // Where only this stream is at fault, a poll proves it quickest: it brings what is withheld.
    if (link === writer && !race && visible) startRace(false, link.owes ? rungs().at(-1) : WS)
  }

  /** Picks the writer, closes what lost, and plans what comes next. */
  function settle(): void {
    const rated = (link: LinkState): number => score(link) + (link === writer ? 0.5 : 0)
    const [first] = links.filter(({ firstAt }) => firstAt).sort((a, b) => rated(b) - rated(a))
    if (first && first !== writer) {
      first.closeAt = 0
      // The others have less time beside it.
      dirty = true
    }
    writer = first ?? null
    if (writer?.provenAt) {
      const { rung } = writer
      settled(writer)
      const above = rungs().filter((other) => other > rung && due(standing(other).blockedUntil))
      const hopeful = now - busyAt < BUFFERED_MS || above.some((other) => standing(other).proven)
      climb.plan(now, writer, above.length > 0, hopeful)
    }
    const waiting = links.some(flying)
    if (!race?.rungs.length && !waiting) race = null
    if (race || waiting || retryAt || away || (writer && !writer.leaving)) return
    const limit = visible ? RETRY_SEEN_MS : RETRY_MAX_MS
    const most = roundLived ? RETRY_PROVEN_MS : Math.min(limit, RETRY_BASE_MS * 2 ** retryCount)
    // A browser that says it is offline is asked seldom rather than believed.
    retryAt = now + (online ? roundWaitMs : RETRY_MAX_MS) + random() * (roundWaitMs ? RETRY_PROVEN_MS : most)
    retryCount += 1
    roundWaitMs = 0
    roundLived = false
    dirty = true
  }

  function settled(writer: LinkState): void {
    const { rung } = writer
    const from = settledOn
    if (from !== rung) {
      const upgrade = from >= 0 && rung > from
      if (upgrade && writer.climbing) climb.upgraded(now)
      // What has just been lost may be back sooner than what never worked.
      if (from > rung) climb.nextAt = Infinity
      settledOn = rung
      effects.report({
        type: 'transport',
        from: NAMES[from] ?? null,
        to: NAMES[rung] as Transport,
        reason: upgrade ? 'upgrade' : from < 0 ? 'first' : lastReason,
      })
    }
    const spare = troubled(writer)
    if (race && !spare) race.rungs = race.rungs.filter((other) => other > rung)
    for (const link of links) {
      // Two links in trouble are not better than one, but whatever is coming up may be needed.
      if (link === writer || link.closeAt || !(link.provenAt || (!spare && link.rung <= rung))) continue
      const keeps = link.suspect && link.owes
      if (keeps && link.rung > rung) withheld(link)
      // It stays for a moment, in case the winner dies young; a poll would only ask again.
      link.closeAt = now + (keeps || link.rung === POLL ? 0 : LINGER_MS)
      dirty = true
    }
  }

  /**
   * A lower transport works while this one keeps what it owes. The second time, the path is one
   * that withholds.
   */
  function withheld({ rung }: LinkState): void {
    if (!fair()) return
    const own = standing(rung)
    if (now - own.withheldAt < BUFFERED_MS) blame.quarantine(rung, now)
    own.withheldAt = now
  }

  function gone(link: LinkState, close: Close, reason: SwitchReason): void {
    const { rung, climbing, provenAt } = link
    const { kind } = close
    drop(link)
    if (link.bye === 'disconnected') return stop({ ...close, kind: 'fatal' })
    if (link.closeAt) return
    lastReason = reason
    lastClose = close
    effects.report({ type: 'lost', transport: NAMES[rung] as Transport, reason, code: close.code })
    if (kind === 'auth') return tokenTurnedDown(close)
    if (kind === 'fatal' && link.bye !== 'replaced') return stop(close)
    const buffered = reason === 'buffered'
    // In some browsers a head is there with the first byte of the body only: both may be what the
    // path holds back.
    const pad = buffered || (rung === SSE && close.late)
    // Once more: with padding, or from where another link has since moved on to.
    if (!provenAt && !link.second && (pad || kind === 'gap')) return open(rung, climbing, link, pad)
    if (provenAt) climb.ended(link, now)
    if (kind === 'busy') busyAt = now
    if (kind === 'lost' && !link.leaving && !link.lasting) {
      const own = standing(rung)
      if (provenAt) own.flaky = true
      // A probe of what has worked here says little: the waits between probes grow by themselves.
      if (fair() && !(climbing && own.proven)) {
        own.failedAt = now
        own.weight = buffered ? 3 : 1
        judge(writer)
      }
    }
    if (race) race.nextAt = now + (kind === 'busy' || kind === 'gap' ? STAGE_MS : 0)
    if (!writer) {
      roundLived = now - (provenAt ?? now) >= LIVED_MS
      roundWaitMs = Math.max(roundWaitMs, close.waitMs || (kind === 'busy' ? BUSY_MS : 0))
    }
  }

  /**
   * One forced refresh, then every transport from the top again; a second refusal in a row is
   * final.
   */
  function tokenTurnedDown(close: Close): void {
    if (tokenRefused || !canRefresh) return stop({ ...close, kind: 'fatal' })
    tokenRefused = true
    for (const link of links) if (!link.provenAt) drop(link)
    race = null
    climb.reset(now)
    if (!writer) retryAt = now
  }

  /**
   * Failures of a page that is hidden, offline, or was so a moment ago say nothing about a
   * transport.
   */
  function fair(): boolean {
    return visible && online && now - resumedAt >= BLAME_MS
  }

  /** A link that works shows that what failed a moment ago could have. */
  function judge(link: LinkState | null): void {
    if (fair() && link?.provenAt && !link.suspect && now - link.heardAt < BLAME_MS) blame.judge(link.rung, now)
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
    if (link.rung === SSE || link.pingAt || !link.provenAt) return
    link.pingAt = now
    effects.ping(link)
  }

  /** @param most nothing above it. */
  function startRace(climbing: boolean, most: Rung = WS): void {
    const least = climbing && writer ? writer.rung + 1 : POLL
    const able = rungs().filter((rung) => rung >= least && rung <= most)
    const free = able.filter((rung) => standing(rung).blockedUntil <= now)
    race = { rungs: climbing || free.length ? free : able, nextAt: now, climbing }
    if (!climbing) retryAt = 0
    dirty = true
  }

  function open(rung: Rung, climbing: boolean, before?: LinkState, pad = false): void {
    const link: LinkState = {
      rung,
      climbing,
      second: !!before,
      startedAt: now,
      // A path that is merely slow gets through in a later round.
      connectMs: retryCount % 3 === 2 ? CONNECT_SLOW_MS : CONNECT_MS,
      heartbeatMs: climb.heartbeatMs,
      heardAt: now,
      graceFrom: Infinity,
    }
    links = [...links, link]
    dirty = true
    effects.open(link, pad)
  }

  function fail(link: LinkState, reason: SwitchReason): void {
    gone(link, { kind: 'lost', message: reason, late: true }, reason)
  }

  /** Without a report: it is not needed, or its end has been seen to. */
  function drop(link: LinkState): void {
    effects.close(link)
    // A new array: whoever walks over the old one sees it unchanged.
    links = links.filter((other) => other !== link)
    if (writer === link) writer = null
    dirty = true
  }

  /** What may be used, best first. */
  function rungs(): readonly Rung[] {
    const usable = all.filter((rung) => rung <= ceiling)
    return usable.length ? usable : all
  }

  return {
    step,
    start,
    stop,
    asked,
    heard,
    batch,
    closed,
    page,
    forget,
    reopen,
    prefer,
    get phase() {
      return phase()
    },
    get started() {
      return started
    },
    get links() {
      return links
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
