import type { Client, Member, PresenceStatus, ThroughlineEvent } from '@throughline/client'

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
  let connected = false
  let ended = false
  const load = (): void => {
    room.members().then(
      (list) => ended || update(() => list.filter(({ status }) => status !== 'offline')),
      () => {}, // Events still tell of changes; the next connection asks again.
    )
  }
  const look = (): void => {
    const before = connected
    connected = client.state.transport !== null
    if (connected && !before) load()
  }
  const ends = [
    client.subscribe(look),
    room.onReset(load),
    room.onAny((event) => event.type.startsWith('presence.') && update((list) => people(list, event))),
  ]
  look()
  return () => {
    ended = true
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

/** Makes the user present in a topic, and says so again when `info` is another. @returns leaves it. */
export function attend(client: Client, topic: string, status: PresenceStatus, info: unknown): () => void {
  const room = client.topic(topic)
  const quiet = (): void => {} // Refused, or not connected: it is said again with the next connection.
  room.presence(status, info).catch(quiet)
  return () => void room.presence('offline').catch(quiet)
}
