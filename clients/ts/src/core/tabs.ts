import type { Command } from './commands.js'
import type { Source } from './connection.js'
import type { ChannelLike } from './env.js'
import type { ConnectionState } from './state.js'
import { createFollowing } from './tab-follow.js'
import type { TabHost } from './tab-host.js'
import { claimsOf, type Identity, identify, userOf } from './tab-identity.js'
import { createLeading } from './tab-lead.js'
import type { Message } from './tab-messages.js'
import { ASK_MS, createTabState } from './tab-state.js'

/**
 * One connection for all tabs of an origin that are the same user with the same grant and the same
 * options. The tab that holds the lock leads, and the others follow. Where there are no locks every
 * tab connects.
 */
// Its inner functions share the state of one tab: a class would only spell each of them `this.`.
export function joinTabs(host: TabHost): Source {
  const { env, connection, told, options } = host
  const { BroadcastChannel } = globalThis as Partial<typeof globalThis>
  const { channel: open } = {
    channel: BroadcastChannel && ((name: string): ChannelLike => new BroadcastChannel(name) as ChannelLike),
    ...options.env,
  }
  if (!env.locks || !open) return { ...connection }

  const { ladder, tokens } = connection
  const tab = createTabState(host)
  const { roster } = tab
  const following = createFollowing(tab)
  const leading = createLeading(tab, verified)
  let arriving = false
  let unlisten = (): void => {}
  let timer: unknown
  let tickAt = 0

  function hear(message: Message): void {
    const { from } = message
    if ('lead' in message) {
      const { lead } = message
      const changed = roster.note(from, lead.own)
      return tab.leading ? leading.meet(lead, from, changed) : following.hearLead(lead, from)
    }
    if ('before' in message) return following.hearDrained(message)
    if ('id' in message) return leading.serve(message)
    const changed = 'gone' in message ? roster.forget(from) : roster.note(from, message.ask)
    if (!tab.leading) return
    if (changed) connection.sync()
    leading.lend()
    if (changed || env.now() - tab.askedAt >= ASK_MS / 2) leading.state()
  }

  function tick(): void {
    const now = env.now()
    const late = now - tickAt >= 2 * ASK_MS
    tickAt = now
    timer = env.setTimeout(tick, ASK_MS)
    // A timer that is late has slept, and so may have the others: they are asked before they are
    // judged.
    if (late) following.excuse()
    const lapsed = roster.lapse(now, late)
    leading.waitAgain()
    if (!tab.leading) {
      following.judge()
      tab.ask()
    } else if (verified()) {
      if (lapsed) connection.sync()
      leading.lend()
      leading.state()
    }
  }

  /**
   * False where the connection is another identity's by now: this tab belongs to other tabs then.
   */
  function verified(): boolean {
    const { identity } = tab
    const now = claimsOf(tokens.current) ?? userOf(connection.hello()) ?? identity
    if (now?.text === identity?.text) return true
    leave()
    // What is connected may still be the former user's, whose events are nobody's in the other
    // group.
    connection.stop()
    enter(now as Identity)
    // It ends as soon as what is under way is done.
    tab.alone = false
    return false
  }

  /**
   * Joins the tabs of this identity. A connection that runs goes on beside the leader's for as long
   * as it has to.
   */
  function enter(who: Identity): void {
    tab.identity = who
    const channel = (open as NonNullable<typeof open>)(leading.group())
    tab.channel = channel
    channel.onmessage = ({ data }) => hear(data as Message)
    tab.alone = !!ladder.started
    tickAt = env.now()
    following.begin()
    leading.wait()
    tick()
  }

  function leave(): void {
    env.clearTimeout(timer)
    tab.post({ gone: true })
    tab.channel?.close()
    tab.channel = tab.led = tab.leader = null
    leading.leave()
  }

  async function arrive(): Promise<void> {
    tab.life += 1
    const { life } = tab
    const { after } = options
    arriving = true
    // A place in the log of its own, where no leader is.
    if (after && after !== 'latest' && !ladder.started) connection.start()
    let who: Identity | undefined
    try {
      who = await identify(connection)
      leading.identifiedAt = env.now()
    } catch {
      // Unknown for now: it connects by itself, and the gateway says.
    }
    if (life !== tab.life) return
    arriving = false
    if (tab.channel) return
    if (who === undefined) connection.start()
    else enter(who)
    told.changed()
  }

  const { hello, changed } = told
  told.drained = (before, deliveries, cursor) => {
    // Passed on first: a listener of the application's may do anything.
    if (tab.leading && verified()) {
      tab.post({ user: connection.hello()?.user, before, deliveries, cursor, served: roster.served() })
    }
    tab.hand(deliveries)
    if (!tab.leading) queueMicrotask(following.rejoin)
  }
  told.hello = () => {
    hello()
    // The others need to know who they are before they are handed anything.
    if (tab.channel) {
      if (verified() && tab.leading) leading.state()
    } else if (tab.on && !arriving) enter(claimsOf(tokens.current) ?? (userOf(connection.hello()) as Identity))
  }
  told.changed = () => {
    // Refused for good: another may still lead.
    if (tab.channel && tab.alone && ladder.phase === 'closed') leave()
    else if (tab.leading) leading.state()
    changed()
  }

  /** Sends the leader a question that it answers. @throws CommandError */
  const consult = (question: (name: string) => object): Promise<unknown> =>
    leading.replies.ask((name) => tab.post({ to: tab.led?.from, id: name, ...question(name) }))

  return {
    state(): ConnectionState {
      const { led } = tab
      if (led) return led.state
      const state = connection.state()
      return tab.on && !ladder.started ? { ...state, phase: 'connecting', error: null } : state
    },
    hello: () => tab.led?.hello ?? connection.hello(),
    get refused() {
      const { led } = tab
      return led ? new Map(led.refused.map(({ topic, code }) => [topic, code])) : connection.refused
    },
    sync: () => (tab.led ? tab.ask() : connection.sync()),

    start(): void {
      if (tab.on && (tab.channel || arriving || ladder.started)) return
      unlisten()
      tab.on = true
      tokens.want('connect')
      unlisten = env.page.listen((signal) => {
        if (signal === 'pagehide') {
          // Perhaps into a back/forward cache: the next in the queue leads, and no tab waits for
          // this one.
          tab.life += 1
          arriving = false
          leave()
        } else if (signal === 'hidden') leading.hidden()
        else if (!tab.channel) {
          if (!arriving) void arrive()
        } else if (!tab.leading) {
          following.judge()
          tab.ask()
        }
      })
      void arrive()
    },

    stop(): void {
      tab.life += 1
      tab.on = arriving = false
      unlisten()
      leave()
      tab.alone = false
      connection.stop()
    },

    command(command: Command): Promise<unknown> {
      if (!tab.led) return connection.command(command)
      // Its own name for it makes a repetition harmless, whichever tab carries it out.
      return consult((name) => ({ send: command.op === 'publish' ? { event_id: name, ...command } : command }))
    },

    settled(topic: string): Promise<unknown> {
      if (!tab.led) return connection.settled(topic)
      tab.ask()
      return consult(() => ({ settle: topic }))
    },
  }
}
