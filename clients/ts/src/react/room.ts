import type { Client, PresenceStatus } from '@throughline/client'
import { type Dispatch, type SetStateAction, useEffect, useMemo, useState } from 'react'
import { type Target, useClient, useLink } from './context.js'
import { useLatest } from './events.js'

/** Options of {@link usePresence}. */
export interface PresenceOptions extends Target {
  /** How this user is here; null: only look. Default: `online`. */
  status?: PresenceStatus | null
  /** Any JSON of at most 1 KiB, such as role and current feature. */
  info?: unknown
}

type Rooms = typeof import('./rooms.js')

/** Does something with what is loaded with the first room. @returns undoes it. */
function inRooms(run: (rooms: Rooms) => () => void): () => void {
  let wanted = true
  const undo = import('./rooms.js').then((rooms) => (wanted ? run(rooms) : undefined))
  return () => {
    wanted = false
    void undo.then((undo) => undo?.())
  }
}

type Follow<T> = (client: Client, topic: string, update: Dispatch<SetStateAction<readonly T[]>>) => () => void

/** A list that follows a topic; empty where there is none. @param which never another. */
function useList<T>(client: Client, topic: string | null, which: (rooms: Rooms) => Follow<T>): readonly T[] {
  const [list, setList] = useState<readonly T[]>([])
  // biome-ignore lint/correctness/useExhaustiveDependencies: `which` is never another.
  useEffect(() => {
    if (!topic) return
    const stop = inRooms((rooms) => which(rooms)(client, topic, setList))
    return () => {
      stop()
      setList([])
    }
  }, [client, topic])
  return list
}

/**
 * Who is present in a topic, and being present oneself while mounted.
 * @param topic null: nowhere.
 */
export function usePresence(topic: string | null, { status = 'online', info, ...target }: PresenceOptions = {}) {
  const client = useClient(target)
  const members = useList(client, topic, (rooms) => rooms.followPeople)
  const latest = useLatest(info)
  const shared = JSON.stringify(info)

  // biome-ignore lint/correctness/useExhaustiveDependencies: `shared` stands for the info, which may be written inline.
  useEffect(() => {
    if (topic && status) return inRooms(({ attend }) => attend(client, topic, status, latest.current))
  }, [client, topic, status, shared, latest])

  const update = useMemo(
    () => async (status: PresenceStatus, info?: unknown) => topic && client.topic(topic).presence(status, info),
    [client, topic],
  )
  return { members, count: members.length, update }
}

/** Options of {@link useRoom}. */
export interface RoomOptions extends PresenceOptions {
  /** Join when mounted. Default: true. */
  autoJoinRoom?: boolean
}

/** One room: who is in it and what is said. Leaving the component leaves the room. */
export function useRoom(roomId: string | null | undefined, { autoJoinRoom = true, ...options }: RoomOptions = {}) {
  const { client, transport, error } = useLink(options)
  const [wanted, setWanted] = useState(autoJoinRoom)
  const topic = wanted && roomId ? `room:${roomId}` : null
  const { members, count, update } = usePresence(topic, options)
  const messages = useList(client, topic, (rooms) => rooms.followMessages)

  const actions = useMemo(
    () => ({
      joinRoom: () => setWanted(true),
      leaveRoom: () => setWanted(false),
      /** Tells everyone in the room; kept and replayed like any event. */
      broadcastMessage: async (message: unknown) =>
        topic &&
        client.topic(topic).publish('room_message', { user_id: client.hello?.user, message, timestamp: Date.now() }),
    }),
    [client, topic],
  )

  return {
    roomId: roomId ?? null,
    isJoined: topic !== null && transport !== null,
    participants: members,
    participantCount: count,
    messages,
    error,
    updatePresence: update,
    ...actions,
  }
}
