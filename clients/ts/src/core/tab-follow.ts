import type { Lead, Message } from './tab-messages.js'
import { createPlace, newOf } from './tab-place.js'
import { ASK_MS, type Leader, type TabState } from './tab-state.js'

/** A visible tab that hears no leader for this long, or is not served by it, connects by itself. */
const SILENCE_MS = 3000
/**
 * So does a tab whose leader has had no connection for this long: its token or its network may be
 * at fault.
 */
const LEADER_DOWN_MS = 10_000
/** The least time between two requests for what a tab lacks. */
const LOOK_MS = 300

/**
 * How a tab follows its leader: with a cursor of its own, so that it can lead next without a gap. A
 * visible tab that is not served connects by itself. It follows again once it is not behind the
 * leader, and asks the gateway for what it lacks.
 */
// Its inner functions share the state of one follower: a class would only spell each of them
// `this.`.
export function createFollowing(tab: TabState) {
  const { env, connection, told, own, options } = tab
  const { session, ladder } = connection
  const { has, covers, fits } = createPlace(session, own)
  /**
   * Since when this tab has not been served, and whether the leader has named it among those that
   * it serves.
   */
  let unservedAt = 0
  let named = false
  /** When a leader was last heard, and when it last had a connection. */
  let heardAt = 0
  let liveAt = 0
  let looking = false
  let lookedAt = 0

  function follow(by: Leader): void {
    tab.alone = named = false
    tab.led = null
    if (ladder.started) connection.stop()
    if (by.cursor !== null && !has(by.cursor)) session.adopt(by.cursor)
    heardAt = liveAt = env.now()
    tab.ask()
    update(by)
  }

  /** The leader's next events do not continue from this tab's place in the log. */
  function unserved(): void {
    if (tab.led) {
      tab.led = null
      unservedAt = env.now()
      told.changed()
    }
    void look()
    judge()
  }

  function goAlone(): void {
    tab.alone = true
    tab.led = null
    connection.start()
    tab.ask()
    told.changed()
  }

  /** Decides whether a visible tab has to connect by itself. */
  function judge(): void {
    const now = env.now()
    const { leader } = tab
    if (!tab.channel || tab.leading || tab.alone || !tab.visible()) return
    const silent = now - heardAt >= SILENCE_MS
    const down = leader && !leader.state.transport
    const waited = now - (tab.led ? Infinity : unservedAt) >= (down ? LEADER_DOWN_MS : SILENCE_MS)
    if (silent || waited || now - liveAt >= LEADER_DOWN_MS) goAlone()
  }

  /** Gives up the own connection where nothing can be lost by it. */
  function rejoin(): void {
    const { led, leading, leader } = tab
    if (!led && !leading && leader?.state.transport && fits(leader)) follow(leader)
  }

  /**
   * Asks the gateway for what this tab lacks to follow: an own connection would bring it seconds
   * later.
   */
  async function look(): Promise<void> {
    const { life, leader } = tab
    const now = env.now()
    const isConnecting = ladder.started && !connection.state().transport
    if (looking || now - lookedAt < LOOK_MS || isConnecting) return
    if (!leader?.state.transport || !covers(leader, false)) return
    looking = true
    lookedAt = now
    try {
      const { look } = await connection.load()
      const chain = session.begin(false)
      const { cursor: after, id } = session
      const query = { after: `${after}`, topics: `${own.topics()}`, types: `${options.types ?? ''}`, session: id }
      const batch = (await look(query)) as object
      // The leader or an own connection may have been quicker, and an own connection tells of a
      // reset itself.
      const isOver = life !== tab.life || tab.led || tab.leading
      if (isOver || !connection.isBatch(batch) || has(batch.cursor) || (tab.alone && batch.reset)) return
      if (session.receive(chain, batch, false)) tab.hand(session.drain(chain))
      rejoin()
    } catch {
      // An own connection will bring it.
    } finally {
      looking = false
    }
  }

  function update(next: Leader): void {
    const before = tab.led
    tab.led = next
    for (const refusal of next.refused) {
      const known = before?.refused.some(({ topic }) => topic === refusal.topic)
      if (!known && own.topics().includes(refusal.topic)) told.refused(refusal)
    }
    if (JSON.stringify(before?.state) !== JSON.stringify(next.state)) told.changed()
  }

  function hearLead(lead: Lead, from: string): void {
    const now = env.now()
    const { led } = tab
    const known = tab.leader
    if (known && known.from !== from && known.term > lead.term && now - heardAt < SILENCE_MS) return
    heardAt = now
    if (lead.state.transport) liveAt = now
    const leader = { ...lead, from }
    tab.leader = leader
    if (tab.alone) rejoin()
    else if (led?.from === from && has(lead.cursor)) update(leader)
    else if (led?.from !== from && fits(lead)) follow(leader)
    else unserved()
    if (!tab.led) void look()
    if (now - tab.askedAt >= ASK_MS / 2) tab.ask()
  }

  function hearDrained(message: Extract<Message, { before: string | null }>): void {
    const { from, user, before, deliveries, cursor, served } = message
    const { id, identity } = tab
    if (tab.leading || tab.leader?.from !== from) return
    tab.leader = { ...tab.leader, cursor }
    if (tab.alone) return rejoin()
    if (!tab.led) return
    // A tab that slept for longer than its wishes count was left out: what came then is not all.
    const isLeftOut = named && !served.includes(id)
    if (!has(before) || isLeftOut || (user !== undefined && user !== identity?.user)) return unserved()
    named ||= served.includes(id)
    tab.led = tab.leader
    const at = session.cursor
    if (!has(cursor)) session.adopt(cursor)
    // This tab may have been ahead of the leader.
    tab.hand(newOf(deliveries, at))
  }

  return {
    judge,
    rejoin,
    hearLead,
    hearDrained,

    /** Begins to wait for a leader. */
    begin(): void {
      heardAt = liveAt = unservedAt = env.now()
    },

    /** The clock jumped: a leader that was not heard gets its time anew. */
    excuse(): void {
      heardAt = liveAt = env.now()
    },
  }
}
