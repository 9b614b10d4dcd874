import type { Client, PresenceStatus } from '@throughline/client'

/** How a user is in a topic, as one component shows it. */
export interface Shown {
  status: PresenceStatus
  info?: unknown
}

/** One component's part in its user's presence. */
export interface Attendance {
  /**
   * Shows this from now on; `offline`: nothing.
   * @returns settles when the gateway has heard of it.
   */
  show(shown: Shown): Promise<unknown>
  /** Gives it up, when its component is gone. */
  leave(): void
}

/** What all components of one client show in one topic; what was said last is at the end. */
type Crowd = Set<{ shown: Shown }>

/** When one component goes and another comes, the user does not leave. */
const LEAVE_MS = 100

const crowds = new WeakMap<Client, Map<string, Crowd>>()

function crowdOf(client: Client, topic: string): Crowd {
  const topics = crowds.get(client) ?? new Map<string, Crowd>()
  crowds.set(client, topics)
  const crowd: Crowd = topics.get(topic) ?? new Set()
  topics.set(topic, crowd)
  return crowd
}

/** The best status of all, and the info that was given last. */
function summary(crowd: Crowd): Shown {
  const shown = [...crowd].map(({ shown }) => shown).filter(({ status }) => status !== 'offline')
  const best = shown.find(({ status }) => status === 'online') ?? shown[0]
  return best ? { status: best.status, info: shown.at(-1)?.info } : { status: 'offline' }
}

/** Makes the user present in a topic as long as one component of the page shows something there. */
export function attend(client: Client, topic: string): Attendance {
  const crowd = crowdOf(client, topic)
  const own: { shown: Shown } = { shown: { status: 'offline' } }
  crowd.add(own)

  /**
   * Tells the gateway what this change makes of the whole, in one command; nothing where it makes
   * no difference.
   */
  async function change(make: () => void): Promise<unknown> {
    const before = summary(crowd)
    make()
    const { status, info } = summary(crowd)
    if (JSON.stringify(before) === JSON.stringify({ status, info })) return
    return client.topic(topic).presence(status, info)
  }

  return {
    show: (shown) =>
      change(() => {
        own.shown = shown
        crowd.delete(own)
        crowd.add(own)
      }),

    leave() {
      setTimeout(() => {
        // Refused, or not connected: the gateway notices that the session is gone.
        change(() => crowd.delete(own)).catch(() => {})
        if (!crowd.size) crowds.get(client)?.delete(topic)
      }, LEAVE_MS)
    },
  }
}
