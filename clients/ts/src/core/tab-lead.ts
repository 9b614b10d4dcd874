import type { CommandError } from './commands.js'
import { reaches } from './cursor.js'
import { groupOf } from './tab-identity.js'
import type { Lead, Message } from './tab-messages.js'
import { createReplies } from './tab-replies.js'
import type { TabState } from './tab-state.js'

/** A token this old is asked for anew before it is used. */
const FRESH_MS = 60_000

/**
 * How a tab leads: while it holds the lock it connects for all tabs of its identity, and passes on
 * what it is given.
 * @param verified false where the connection is another identity's by now.
 */
// Its inner functions share the state of one leader: a class would only spell each of them `this.`.
export function createLeading(tab: TabState, verified: () => boolean) {
  const { env, connection, told, wishes, own, roster } = tab
  const { session, ladder } = connection
  const replies = createReplies(connection, tab.id)
  /** Topics that this tab receives, each with the cursor above which it has all of its events. */
  const covered = new Map<string, string>()
  let term = 0
  let lent = false
  let locking = false
  let ended = new AbortController()
  let resign = (): void => {}

  const leading = {
    /** When this tab learnt who it is: its token is as old. */
    identifiedAt: -Infinity,
    replies,
    state,
    lend,
    serve,

    /** The name of the lock and of the channel of this tab's identity. */
    group: (): string => groupOf(connection.base, `${tab.identity?.text}`, tab.options),

    /** Waits for its turn to lead. */
    wait,

    /** Waits for its turn again, where the lock was taken away or not given. */
    waitAgain(): void {
      if (!locking) wait()
    },

    /** Another tab leads as well, as where a lock was taken away. The later election counts. */
    meet(lead: Lead, from: string, changed: boolean): void {
      if (lead.term > term || (lead.term === term && from > tab.id)) lose()
      else if (changed) connection.sync()
    },

    /** The page is hidden: what was lent to it is gone. */
    hidden(): void {
      lent = false
    },

    /** Stops leading, and waiting for it. */
    leave(): void {
      lent = tab.leading = false
      covered.clear()
      roster.clear()
      ended.abort()
      resign()
      merge()
    },
  }

  function wait(): void {
    const own = new AbortController()
    ended = own
    locking = true
    const grant = async (): Promise<void> => (own.signal.aborted ? undefined : elected())
    env.locks?.request(leading.group(), { signal: own.signal }, grant).catch(() => {
      if (own.signal.aborted) return
      // Taken away, as on the way into a back/forward cache, or not given: asked for again with the
      // next tick.
      locking = false
      lose()
    })
  }

  function elected(): Promise<void> {
    tab.leading = true
    tab.led = tab.leader = null
    term = env.now()
    if (!ladder.started) {
      // The first link is opened with all of them, from where this tab is.
      if (session.cursor !== null) for (const topic of roster.topics()) covered.set(topic, session.cursor)
      tab.alone = true
      connection.start(term - leading.identifiedAt < FRESH_MS)
    }
    tab.alone = true
    merge()
    state()
    told.changed()
    return new Promise((resolve) => {
      resign = resolve
    })
  }

  /** While this tab leads, what it wants of the gateway is what all tabs want. */
  function merge(): void {
    wishes.topics = tab.leading ? roster.topics : own.topics
    wishes.present = tab.leading ? roster.present : own.present
    connection.sync()
  }

  /** The lock is another's: the connection goes on until that leader is where this tab is. */
  function lose(): void {
    if (!tab.leading) return
    tab.leading = lent = false
    covered.clear()
    resign()
    merge()
    if (locking) {
      ended.abort()
      wait()
    }
  }

  /** Tells the others where this tab is in the log, and what it has. */
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
      state: tab.view(),
      hello: connection.hello(),
      cursor,
      topics: [...covered],
      refused: [...refused].map(([topic, code]) => ({ topic, code })),
      own: tab.wanted(),
      term,
    }
    tab.askedAt = env.now()
    tab.post({ lead })
  }

  /**
   * A hidden leader works for a tab that is visible, and goes by the time of that tab's messages.
   */
  function lend(): void {
    const visible = tab.visible()
    const needed = tab.leading && !visible && roster.watched()
    if (needed !== lent) connection.dispatch(() => ladder.page(needed || visible ? 'visible' : 'hidden'))
    else if (needed) connection.dispatch(() => {})
    lent = needed
  }

  /** Takes a question to this tab as leader, or the answer to one of its own. */
  function serve(message: Message): void {
    if (!('id' in message) || message.to !== tab.id) return
    if ('reply' in message) return replies.take(message.id, message.reply)
    if (!tab.leading || !verified()) return
    const { id, from: to } = message
    const done = 'settle' in message ? connection.settled(message.settle) : connection.command(message.send)
    done.then(
      (ok) => tab.post({ to, id, reply: { ok } }),
      ({ code, message, retryAfterMs: retry_after_ms, seq }: CommandError) =>
        tab.post({ to, id, reply: { error: { code, message, retry_after_ms, seq } } }),
    )
  }

  return leading
}
