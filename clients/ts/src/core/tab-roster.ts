import type { Ask } from './tab-messages.js'
import type { Presence, Wishes } from './wishes.js'

/** How long the wishes of a tab that gives no sign of life count, in milliseconds. */
const LEASE_MS = 3000

interface Entry extends Ask {
  /** When it was asked for a sign of life, if it has given none since. */
  askedAt?: number
}

/**
 * The other tabs of this identity, and what they want. Each tab keeps one: any of them may lead
 * next.
 */
export function createRoster(own: Wishes) {
  const tabs = new Map<string, Entry>()

  return {
    /** @returns true where the tab wants something else than before. */
    note(id: string, ask: Ask): boolean {
      const { topics, present, alone } = tabs.get(id) ?? {}
      tabs.set(id, ask)
      const { topics: topicsNow, present: presentNow, alone: aloneNow } = ask
      return JSON.stringify([topics, present, alone]) !== JSON.stringify([topicsNow, presentNow, aloneNow])
    },

    forget: (id: string): boolean => tabs.delete(id),

    clear: (): void => tabs.clear(),

    /**
     * All are being asked for a sign of life; those that were asked and stayed silent are
     * forgotten.
     * @param late the clock jumped: nobody had the time to answer.
     * @returns true where some were forgotten.
     */
    lapse(now: number, late: boolean): boolean {
      const before = tabs.size
      for (const [id, tab] of tabs) {
        if (late) tab.askedAt = now
        tab.askedAt ??= now
        if (now - tab.askedAt >= LEASE_MS) tabs.delete(id)
      }
      return tabs.size < before
    },

    /** Those that live by what the leader passes on. */
    served: (): string[] => [...tabs].flatMap(([id, { alone }]) => (alone ? [] : [id])),

    watched: (): boolean => [...tabs.values()].some(({ visible }) => visible),

    topics: (): string[] => [...new Set([...own.topics(), ...[...tabs.values()].flatMap(({ topics }) => topics)])],

    /** The best status that a tab has in each topic; of equals, this tab's own. */
    present(): Map<string, Presence> {
      const best = new Map(own.present())
      for (const { present, alone } of tabs.values()) {
        for (const [topic, presence] of alone ? [] : present) {
          const known = best.get(topic)
          if (!known || (known.status === 'away' && presence.status === 'online')) best.set(topic, presence)
        }
      }
      return best
    },
  }
}
