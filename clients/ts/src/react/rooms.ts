import type { Client, Member, ThroughlineEvent } from '@throughline/client'

export { attend } from './attendance.js'

/** Someone who is here, as far as the events tell. */
export type Person = Pick<Member, 'user' | 'status'> & Partial<Member>

/** A message in a room. */
export interface RoomMessage {
  id: string
  user_id: string
  message: unknown
  timestamp: number | string
}

type Update<T> = (change: (list: readonly T[]) => readonly T[]) => void

const MESSAGES_MAX = 200

/** Keeps the list of those who are present in a topic. @returns stops. */
export function followPeople(client: Client, topic: string, update: Update<Person>): () => void {
  const room = client.topic(topic)
  /** Of whom an event has told since the latest request; the answer may be older than the event. */
  const told = new Set<string>()
  let request = 0
  let connected = false

  function load(): void {
    request += 1
    const own = request
    told.clear()
    const merge = (members: readonly Member[]): void => {
      // The answer to a later request replaces this one; so does the end.
      if (own !== request) return
      const others = members.filter(({ user, status }) => status !== 'offline' && !told.has(user))
      update((list) => [...others, ...list.filter(({ user }) => told.has(user))])
    }
    room.members().then(merge, () => {}) // Events still tell of changes; the next connection asks again.
  }

  function look(): void {
    const before = connected
    connected = client.state.transport !== null
    if (connected && !before) load()
  }

  function hear(event: ThroughlineEvent): void {
    if (!event.type.startsWith('presence.')) return
    told.add((event.data as Person).user)
    update((list) => people(list, event))
  }

  const ends = [client.subscribe(look), room.onReset(load), room.onAny(hear)]
  look()
  return () => {
    request += 1
    for (const end of ends) end()
  }
}

/** What a presence event makes of the people who were here. */
function people(list: readonly Person[], { type, data, time }: ThroughlineEvent): readonly Person[] {
  const { user, status, info } = data as Person
  const known = list.find((person) => person.user === user)
  const others = list.filter((person) => person !== known)
  const since = type === 'presence.join' && { since: time }
  return status === 'offline' ? others : [...others, { ...known, user, status, info, last_seen: time, ...since }]
}

/** Keeps the latest messages of a room. @returns stops. */
export const followMessages = (client: Client, topic: string, update: Update<RoomMessage>): (() => void) =>
  client.topic(topic).on('room_message', ({ data, id, seq, time }) => {
    const message: RoomMessage = { timestamp: time, ...data, id: `${id ?? seq ?? time}` }
    update((list) => [...list, message].slice(-MESSAGES_MAX))
  })
