import type { Member, PresenceStatus, ThroughlineEvent } from '@throughline/client'
import { useCallback, useEffect, useReducer, useState } from 'react'
import { type Target, useClient, useClientState } from './context.js'

/** Someone who is here, as far as the events tell. */
export type Person = Pick<Member, 'user' | 'status'> & Partial<Member>

const NOBODY: readonly Person[] = []

function people(list: readonly Person[], news: readonly Person[] | Person): readonly Person[] {
  if (!('user' in news)) return news
  const known = list.find(({ user }) => user === news.user)
  const others = list.filter((person) => person !== known)
  return news.status === 'offline' ? others : [...others, { ...known, ...news }]
}

/** Options of {@link usePresence}. */
export interface PresenceOptions extends Target {
  /** How this user is here; null: only look. Default: `online`. */
  status?: PresenceStatus | null
  /** Any JSON of at most 1 KiB, such as role and current feature. */
  info?: unknown
}

/**
 * Who is present in a topic, and being present oneself while mounted.
 * @param topic null: nowhere.
 */
export function usePresence(topic: string | null, { status = 'online', info, ...target }: PresenceOptions = {}) {
  const client = useClient(target)
  const { transport } = useClientState(client)
  const [members, tell] = useReducer(people, NOBODY)
  const shared = JSON.stringify(info)
  const connected = transport !== null

  useEffect(() => {
    if (!topic) return
    const room = client.topic(topic)
    let current = true
    const load = (): void => {
      room.members().then(
        (list) => current && tell(list.filter((member) => member.status !== 'offline')),
        () => {}, // Events still tell of changes; the next connection asks again.
      )
    }
    const offReset = room.onReset(load)
    const off = room.onAny(({ type, data, time }: ThroughlineEvent) => {
      if (!type.startsWith('presence.')) return
      const { user, status, info } = data as Person
      tell({ user, status, info, last_seen: time, ...(type === 'presence.join' ? { since: time } : {}) })
    })
    if (connected) load()
    return () => {
      current = false
      off()
      offReset()
    }
  }, [client, topic, connected])

  useEffect(() => {
    if (!topic || !status) return
    const room = client.topic(topic)
    const quiet = (): void => {} // Refused, or not connected: it is said again with the next connection.
    room.presence(status, shared === undefined ? undefined : JSON.parse(shared)).catch(quiet)
    return () => void room.presence('offline').catch(quiet)
  }, [client, topic, status, shared])

  const update = useCallback(
    (status: PresenceStatus, info?: unknown) =>
      topic ? client.topic(topic).presence(status, info) : Promise.resolve(),
    [client, topic],
  )
  return { members: topic ? members : NOBODY, count: topic ? members.length : 0, update }
}

/** A message in a room. */
export interface RoomMessage {
  id: string
  user_id: string
  message: unknown
  timestamp: number | string
}

/** Options of {@link useRoom}. */
export interface RoomOptions extends PresenceOptions {
  /** Join when mounted. Default: true. */
  autoJoinRoom?: boolean
}

const MESSAGES_MAX = 200
const keep = (list: readonly RoomMessage[], message: RoomMessage | null) =>
  message ? [...list, message].slice(-MESSAGES_MAX) : []

/** One room: who is in it and what is said. Leaving the component leaves the room. */
export function useRoom(roomId: string | null | undefined, { autoJoinRoom = true, ...options }: RoomOptions = {}) {
  const client = useClient(options)
  const { transport, error } = useClientState(client)
  const [wanted, setWanted] = useState(autoJoinRoom)
  const topic = wanted && roomId ? `room:${roomId}` : null
  const { members, count, update } = usePresence(topic, options)
  const [messages, add] = useReducer(keep, [])

  useEffect(() => {
    add(null)
    if (!topic) return
    return client.topic(topic).on('room_message', ({ data, id, seq, time }) => {
      add({ timestamp: time, ...data, id: id ?? String(seq ?? time) })
    })
  }, [client, topic])

  return {
    roomId: roomId ?? null,
    isJoined: topic !== null && transport !== null,
    participants: members,
    participantCount: count,
    messages,
    error,
    updatePresence: update,
    joinRoom: useCallback(() => setWanted(true), []),
    leaveRoom: useCallback(() => setWanted(false), []),
    /** Tells everyone in the room; kept and replayed like any event. */
    broadcastMessage: useCallback(
      async (message: unknown) =>
        topic &&
        client.topic(topic).publish('room_message', { user_id: client.hello?.user, message, timestamp: Date.now() }),
      [client, topic],
    ),
  }
}
