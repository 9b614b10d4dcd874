import type { ChannelLike } from './env.js'
import type { Delivery } from './session.js'
import type { TabHost } from './tab-host.js'
import type { Identity } from './tab-identity.js'
import type { Ask, Lead } from './tab-messages.js'
import { createRoster } from './tab-roster.js'
import { topicsOf } from './topic.js'
import type { Wishes } from './wishes.js'

/** How often a tab says what it wants, and the leader where it is, in milliseconds. */
export const ASK_MS = 1000

/** The leader as last heard, and the tab that it is. */
export type Leader = Lead & { readonly from: string }

/**
 * What following, leading and the life of one tab share. A tab that neither leads nor is alone
 * follows.
 */
// Its inner functions share the state of one tab.
export function createTabState(host: TabHost) {
  const { env, wishes } = host
  const own: Wishes = { ...wishes }

  const tab = {
    ...host,
    /** Names this tab among the tabs of its identity. */
    id: env.random().toString(36).slice(2),
    /** What this tab itself wants. */
    own,
    /** The other tabs of this identity. */
    roster: createRoster(own),
    leading: false,
    /** This tab has a connection of its own. */
    alone: false,
    /** Between `start` and `stop`. */
    on: false,
    /**
     * Counts up with each start and stop, so that the answer to a call of an earlier life is
     * dropped.
     */
    life: 0,
    identity: null as Identity | null,
    channel: null as ChannelLike | null,
    /** The leader as last heard. */
    leader: null as Leader | null,
    /** The leader that serves this tab. */
    led: null as Leader | null,
    /** When this tab last said what it wants. */
    askedAt: 0,

    /** Sends a message to all other tabs of this identity. */
    post: (message: object): void => tab.channel?.postMessage({ ...message, from: tab.id }),

    visible: (): boolean => env.page.visible(),

    /** Hands over what this tab wants of what came. */
    hand(deliveries: readonly Delivery[]): void {
      for (const delivery of deliveries) {
        if ('reset' in delivery) {
          const { reset } = delivery
          const topics = reset.topics.filter(isMine)
          if (topics.length) host.deliver({ reset: { ...reset, topics } })
        } else {
          const { topics: _, ...event } = delivery
          const topics = topicsOf(delivery).filter(isMine)
          const [topic] = topics
          if (topic) host.deliver({ ...event, topic, ...(topics.length > 1 && { topics }) })
        }
      }
    },

    wanted: (): Ask => ({
      topics: own.topics(),
      present: [...own.present()],
      visible: tab.visible(),
      alone: tab.alone,
    }),

    /** Tells the others what this tab wants. */
    ask(): void {
      tab.askedAt = env.now()
      tab.post({ ask: tab.wanted() })
    },
  }

  /** True for a topic that this tab wants, or that every session of this user has. */
  const isMine = (topic: string): boolean =>
    !tab.identity || topic === 'all' || topic === `user:${tab.identity.user}` || own.topics().includes(topic)

  return tab
}

/** What {@link createTabState} makes. */
export type TabState = ReturnType<typeof createTabState>
