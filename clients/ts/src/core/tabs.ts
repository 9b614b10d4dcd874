import type { Command, CommandError } from './commands.js'
import type { Source } from './connection.js'
import { reaches } from './cursor.js'
import type { ChannelLike } from './env.js'
import type { Delivery } from './session.js'
import type { ConnectionState } from './state.js'
import type { TabHost } from './tab-host.js'
import { claimsOf, groupOf, type Identity, identify, userOf } from './tab-identity.js'
import type { Ask, Lead, Message } from './tab-messages.js'
import { createPlace, newOf } from './tab-place.js'
import { createReplies } from './tab-replies.js'
import { createRoster } from './tab-roster.js'
import type { Wishes } from './wishes.js'

/** How often a tab says what it wants, and the leader where it is. */
const ASK_MS = 1000
/** A visible tab that hears no leader for this long, or is not served by it, connects by itself. */
const SILENCE_MS = 3000
/** A token this old is asked for anew before it is used. */
const FRESH_MS = 60_000
/** So does one whose leader has had no connection for this long: its token or its network may be its own trouble. */
const LEADER_DOWN_MS = 10_000

/** The least time between two looks at what a tab lacks. */
const LOOK_MS = 300

type Leader = Lead & { readonly from: string }

/**
 * One connection for all tabs of an origin that are the same user with the same grant and the same options. The tab
 * that holds the lock leads: it connects, and passes on what it is given. The others follow with cursors of their own,
 * so that the next leader goes on without a gap. A tab that is looked at and not served connects by itself. It follows
 * again once it is not behind the leader, and asks the gateway for what it lacks. Where there are no locks every tab
 * connects.
 */
// Its inner functions share the state of one tab: a class would only spell each of them `this.`.
export function joinTabs(host: TabHost): Source {
  const { env, connection, told, wishes, options } = host
  const { BroadcastChannel } = globalThis as Partial<typeof globalThis>
  const { locks } = env
  const { channel: open } = {
    channel: BroadcastChannel && ((name: string): ChannelLike => new BroadcastChannel(name) as ChannelLike),
    ...options.env,
  }
  if (!locks || !open) return { ...connection }

  const { session, ladder, tokens } = connection
  const own: Wishes = { ...wishes }
  const roster = createRoster(own)
  const { has, covers, fits } = createPlace(session, own)
  const id = env.random().toString(36).slice(2)
  const replies = createReplies(connection, id)
  /** A tab that is neither follows, or is about to. */
  let leading = false
  let alone = false
  /** Between `start` and `stop`; counts up, so that what began in an earlier life is dropped. */
  let life = 0
  let on = false
  let arriving = false
  let identifiedAt = -Infinity
  let locking = false
  let identity: Identity | null = null
  let channel: ChannelLike | null = null
  let ended = new AbortController()
  let unlisten = (): void => {}
  let timer: unknown
  let tickAt = 0
  let askedAt = 0
  /** The leader as last heard, and the one that serves this tab. */
  let leader: Leader | null = null
  let led: Leader | null = null
  /** Since when this tab has not been served, and whether the leader has named it among those that it serves. */
  let unservedAt = 0
  let named = false
  let heardAt = 0
  let liveAt = 0
  let looking = false
  let lookedAt = 0
  // Of the leader alone.
  const covered = new Map<string, string>()
  let term = 0
  let lent = false
  let resign = (): void => {}

  const post = (message: object): void => channel?.postMessage({ ...message, from: id })
  const visible = (): boolean => env.page.visible()

  // What is this tab's.

  /** True for a topic that this tab wants, or that every session of this user has. */
  const mine = (topic: string): boolean =>
    !identity || topic === 'all' || topic === `user:${identity.user}` || own.topics().includes(topic)

  /** Hands over what this tab wants of what came. */
  function hand(deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) {
      if ('reset' in delivery) {
        const { reset } = delivery
        const topics = reset.topics.filter(mine)
        if (topics.length) host.deliver({ reset: { ...reset, topics } })
      } else if (mine(delivery.topic)) host.deliver(delivery)
    }
  }

  // Following.

  const wanted = (): Ask => ({ topics: own.topics(), present: [...own.present()], visible: visible(), alone })

  function ask(): void {
    askedAt = env.now()
    post({ ask: wanted() })
  }

  function follow(by: Leader): void {
    alone = named = false
    led = null
    if (ladder.started) connection.stop()
    if (by.cursor !== null && !has(by.cursor)) session.adopt(by.cursor)
    heardAt = liveAt = env.now()
    ask()
    update(by)
  }

  /** What comes next from the leader does not follow what this tab has. */
  function unserved(): void {
    if (led) {
      led = null
      unservedAt = env.now()
      told.changed()
    }
    void look()
    judge()
  }

  function goAlone(): void {
    alone = true
    led = null
    connection.start()
    ask()
    told.changed()
  }

  /** Whether a tab that is looked at has to connect by itself. */
  function judge(): void {
    const now = env.now()
    if (!channel || leading || alone || !visible()) return
    const silent = now - heardAt >= SILENCE_MS
    const down = leader && !leader.state.transport
    const waited = now - (led ? Infinity : unservedAt) >= (down ? LEADER_DOWN_MS : SILENCE_MS)
    if (silent || waited || now - liveAt >= LEADER_DOWN_MS) goAlone()
  }

  /** Does without the own connection where nothing can be lost by it. */
  function rejoin(): void {
    if (!led && !leading && leader?.state.transport && fits(leader)) follow(leader)
  }

  /** Asks the gateway for what this tab lacks to follow: an own connection would bring it seconds later. */
  async function look(): Promise<void> {
    const current = life
    const now = env.now()
    const isConnecting = ladder.started && !connection.state().transport
    if (looking || now - lookedAt < LOOK_MS || isConnecting) return
    if (!leader?.state.transport || !covers(leader, false)) return
    looking = true
    lookedAt = now
    try {
      const { look } = await connection.requests()
      const chain = session.begin(false)
      const { cursor: after, id } = session
      const query = { after: `${after}`, topics: `${own.topics()}`, types: `${options.types ?? ''}`, session: id }
      const batch = (await look(connection, query)) as object
      // The leader or an own connection may have been quicker, and an own connection tells of a reset itself.
      if (
        current !== life ||
        led ||
        leading ||
        !connection.isBatch(batch) ||
        has(batch.cursor) ||
        (alone && batch.reset)
      )
        return
      if (session.receive(chain, batch, false)) hand(session.drain(chain))
      rejoin()
    } catch {
      // An own connection will bring it.
    } finally {
      looking = false
    }
  }

  function hearLead(lead: Lead, from: string): void {
    const now = env.now()
    const changed = roster.note(from, lead.own)
    // Two lead for a moment where a lock was taken away: the later election counts.
    if (leading) {
      if (lead.term > term || (lead.term === term && from > id)) lose()
      else if (changed) connection.sync()
      return
    }
    if (leader && leader.from !== from && leader.term > lead.term && now - heardAt < SILENCE_MS) return
    heardAt = now
    if (lead.state.transport) liveAt = now
    leader = { ...lead, from }
    if (alone) rejoin()
    else if (led?.from === from && has(lead.cursor)) update(leader)
    else if (led?.from !== from && fits(lead)) follow(leader)
    else unserved()
    if (!led) void look()
    if (now - askedAt >= ASK_MS / 2) ask()
  }

  function update(next: Leader): void {
    const before = led
    led = next
    for (const refusal of next.refused) {
      const known = before?.refused.some(({ topic }) => topic === refusal.topic)
      if (!known && own.topics().includes(refusal.topic)) told.refused(refusal)
    }
    if (JSON.stringify(before?.state) !== JSON.stringify(next.state)) told.changed()
  }

  function hearDrained(message: Extract<Message, { before: string | null }>): void {
    const { from, user, before, deliveries, cursor, served } = message
    if (leading || leader?.from !== from) return
    leader = { ...leader, cursor }
    if (alone) return rejoin()
    if (!led) return
    // A tab that slept for longer than its wishes count was left out: what came then is not all.
    const isLeftOut = named && !served.includes(id)
    if (!has(before) || isLeftOut || (user !== undefined && user !== identity?.user)) return unserved()
    named ||= served.includes(id)
    led = leader
    const at = session.cursor
    if (!has(cursor)) session.adopt(cursor)
    // This tab may have been ahead of the leader.
    hand(newOf(deliveries, at))
  }

  // Leading.

  function elected(): Promise<void> {
    leading = true
    led = leader = null
    term = env.now()
    if (!ladder.started) {
      // The first link is opened with all of them, from where this tab is.
      if (session.cursor !== null) for (const topic of roster.topics()) covered.set(topic, session.cursor)
      alone = true
      connection.start(term - identifiedAt < FRESH_MS)
    }
    alone = true
    merge()
    state()
    told.changed()
    return new Promise((resolve) => {
      resign = resolve
    })
  }

  /** While this tab leads, what it wants of the gateway is what all tabs want. */
  function merge(): void {
    wishes.topics = leading ? roster.topics : own.topics
    wishes.present = leading ? roster.present : own.present
    connection.sync()
  }

  /** The lock is another's: the connection goes on until that leader is where this tab is. */
  function lose(): void {
    if (!leading) return
    leading = lent = false
    covered.clear()
    resign()
    merge()
    if (locking) {
      ended.abort()
      request()
    }
  }

  function state(): void {
    const { carrier } = ladder.writer ?? {}
    const { refused } = connection
    const { cursor } = session
    if (carrier && cursor !== null) {
      for (const [topic, since] of covered) {
        if (!(carrier.topics.includes(topic) && reaches(cursor, since))) covered.delete(topic)
      }
      for (const topic of carrier.topics) {
        if (!covered.has(topic) && !refused.has(topic)) covered.set(topic, cursor)
      }
    }
    const lead: Lead = {
      state: host.view(),
      hello: connection.hello(),
      cursor,
      topics: [...covered],
      refused: [...refused].map(([topic, code]) => ({ topic, code })),
      own: wanted(),
      term,
    }
    askedAt = env.now()
    post({ lead })
  }

  /** A hidden leader works for a tab that is looked at, and goes by the time of that tab's messages. */
  function lend(): void {
    const needed = leading && !visible() && roster.watched()
    if (needed !== lent) connection.dispatch(() => ladder.page(needed || visible() ? 'visible' : 'hidden'))
    else if (needed) connection.dispatch(() => {})
    lent = needed
  }

  function serve(message: Message): void {
    if (!('id' in message) || message.to !== id) return
    if ('reply' in message) return replies.take(message.id, message.reply)
    if (!leading || !verified()) return
    const { id: request, from: to } = message
    const done = 'settle' in message ? connection.settled(message.settle) : connection.command(message.send)
    done.then(
      (ok) => post({ to, id: request, reply: { ok } }),
      ({ code, message, retryAfterMs: retry_after_ms, seq }: CommandError) =>
        post({ to, id: request, reply: { error: { code, message, retry_after_ms, seq } } }),
    )
  }

  // All.

  function hear(message: Message): void {
    const { from } = message
    if ('lead' in message) return hearLead(message.lead, from)
    if ('before' in message) return hearDrained(message)
    if ('id' in message) return serve(message)
    const changed = 'gone' in message ? roster.forget(from) : roster.note(from, message.ask)
    if (!leading) return
    if (changed) connection.sync()
    lend()
    if (changed || env.now() - askedAt >= ASK_MS / 2) state()
  }

  function tick(): void {
    const now = env.now()
    const late = now - tickAt >= 2 * ASK_MS
    tickAt = now
    timer = env.setTimeout(tick, ASK_MS)
    // A timer that is late has slept, and so may have the others: they are asked before they are judged.
    if (late) heardAt = liveAt = now
    const lapsed = roster.lapse(now, late)
    if (!locking) request()
    if (!leading) {
      judge()
      ask()
    } else if (verified()) {
      if (lapsed) connection.sync()
      lend()
      state()
    }
  }

  /** False where the connection is another identity's by now: this tab belongs to other tabs then. */
  function verified(): boolean {
    const now = claimsOf(tokens.current) ?? userOf(connection.hello()) ?? identity
    if (now?.text === identity?.text) return true
    leave()
    // What is connected may still be the former user's, whose events are nobody's in the other group.
    connection.stop()
    enter(now as Identity)
    // It ends as soon as what is under way is done.
    alone = false
    return false
  }

  /** Waits for its turn to lead. */
  function request(): void {
    const own = new AbortController()
    ended = own
    locking = true
    const grant = async (): Promise<void> => (own.signal.aborted ? undefined : elected())
    locks?.request(group(), { signal: own.signal }, grant).catch(() => {
      if (own.signal.aborted) return
      // Taken away, as on the way into a back/forward cache, or not given: asked for again with the next tick.
      locking = false
      lose()
    })
  }

  const group = (): string => groupOf(connection.base, `${identity?.text}`, options)

  /** Joins the tabs of this identity. A connection that runs goes on beside the leader's for as long as it has to. */
  function enter(who: Identity): void {
    identity = who
    channel = (open as NonNullable<typeof open>)(group())
    channel.onmessage = ({ data }) => hear(data as Message)
    alone = !!ladder.started
    tickAt = heardAt = liveAt = unservedAt = env.now()
    request()
    tick()
  }

  function leave(): void {
    env.clearTimeout(timer)
    post({ gone: true })
    channel?.close()
    channel = led = leader = null
    leading = lent = false
    covered.clear()
    roster.clear()
    ended.abort()
    resign()
    merge()
  }

  async function arrive(): Promise<void> {
    life += 1
    const current = life
    const { after } = options
    arriving = true
    // A place in the log of its own, where no leader is.
    if (after && after !== 'latest' && !ladder.started) connection.start()
    let who: Identity | undefined
    try {
      who = await identify(connection)
      identifiedAt = env.now()
    } catch {
      // Unknown for now: it connects by itself, and the gateway says.
    }
    if (current !== life) return
    arriving = false
    if (channel) return
    if (who === undefined) connection.start()
    else enter(who)
    told.changed()
  }

  const { hello, changed } = told
  told.drained = (before, deliveries, cursor) => {
    // Passed on first: a listener of the application's may do anything.
    if (leading && verified()) {
      post({ user: connection.hello()?.user, before, deliveries, cursor, served: roster.served() })
    }
    hand(deliveries)
    if (!leading) queueMicrotask(rejoin)
  }
  told.hello = () => {
    hello()
    // The others need to know who they are before they are handed anything.
    if (channel) {
      if (verified() && leading) state()
    } else if (on && !arriving) enter(claimsOf(tokens.current) ?? (userOf(connection.hello()) as Identity))
  }
  told.changed = () => {
    // Refused for good: another may still lead.
    if (channel && alone && ladder.phase === 'closed') leave()
    else if (leading) state()
    changed()
  }

  /** Sends the leader something that it answers. @throws CommandError */
  const consult = (question: (name: string) => object): Promise<unknown> =>
    replies.ask((name) => post({ to: led?.from, id: name, ...question(name) }))

  const source: Source = {
    state(): ConnectionState {
      if (led) return led.state
      const state = connection.state()
      return on && !ladder.started ? { ...state, phase: 'connecting', error: null } : state
    },
    hello: () => led?.hello ?? connection.hello(),
    get refused() {
      return led ? new Map(led.refused.map(({ topic, code }) => [topic, code])) : connection.refused
    },
    sync: () => (led ? ask() : connection.sync()),

    start(): void {
      if (on && (channel || arriving || ladder.started)) return
      unlisten()
      on = true
      tokens.want('connect')
      unlisten = env.page.listen((signal) => {
        if (signal === 'pagehide') {
          // Into a back/forward cache, perhaps: whoever comes next leads, and nobody waits for this tab.
          life += 1
          arriving = false
          leave()
        } else if (signal === 'hidden') lent = false
        else if (!channel) {
          if (!arriving) void arrive()
        } else if (!leading) {
          judge()
          ask()
        }
      })
      void arrive()
    },

    stop(): void {
      life += 1
      on = arriving = false
      unlisten()
      leave()
      alone = false
      connection.stop()
    },

    command(command: Command): Promise<unknown> {
      if (!led) return connection.command(command)
      // Its own name for it makes a repetition harmless, whoever carries it out.
      return consult((name) => ({ send: command.op === 'publish' ? { event_id: name, ...command } : command }))
    },

    settled(topic: string): Promise<unknown> {
      if (!led) return connection.settled(topic)
      ask()
      return consult(() => ({ settle: topic }))
    },
  }
  return source
}
