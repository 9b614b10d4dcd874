import type { Client, PresenceStatus } from '@throughline/client'
import { type Dispatch, type SetStateAction, useEffect, useMemo } from 'react'
import type { Attendance, Shown } from './attendance.js'
import { type Target, useClient, useLink } from './context.js'
import { useStateOf } from './events.js'

/** Options of {@link usePresence}. */
export interface PresenceOptions extends Target {
  /** How this user is here; null: only look. Default: `online`. */
  status?: PresenceStatus | null
  /** Any JSON of at most 1 KiB, such as role and current feature. */
  info?: unknown
}

type Rooms = typeof import('./rooms.js')

const LOAD_AGAIN_MS = 1000
const LOAD_AGAIN_MAX_MS = 30_000

/**
 * Does something with the part for rooms, which is loaded with the first of them.
 * @returns undoes it.
 */
function inRooms(run: (rooms: Rooms) => () => void): () => void {
  let wanted = true
  let undo: (() => void) | undefined
  let timer: ReturnType<typeof setTimeout>
  const load = (waitMs: number): void =>
    void import('./rooms.js').then(
      (rooms) => {
        if (wanted) undo = run(rooms)
      },
      () => {
        if (wanted) timer = setTimeout(() => load(Math.min(LOAD_AGAIN_MAX_MS, 2 * waitMs)), waitMs)
      },
    )
  load(LOAD_AGAIN_MS)
  return () => {
    wanted = false
    clearTimeout(timer)
    undo?.()
  }
}

type Follow<T> = (client: Client, topic: string, update: Dispatch<SetStateAction<readonly T[]>>) => () => void

/** A list that follows a topic; empty where there is none. @param which never another. */
function useList<T>(client: Client, topic: string | null, which: (rooms: Rooms) => Follow<T>): readonly T[] {
  const [list, setList] = useStateOf<readonly T[]>([], [client, topic])
  // biome-ignore lint/correctness/useExhaustiveDependencies: `which` is never another.
  useEffect(() => {
    if (topic) return inRooms((rooms) => which(rooms)(client, topic, setList))
  }, [client, topic, setList])
  return list
}

/** Keeps the user present as `shown` while mounted. @returns shows something else. */
function useAttendance(client: Client, topic: string | null, shown: Shown) {
  const attendance = useMemo(() => {
    let latest: Shown = { status: 'offline' }
    /** Set while rooms are loaded and the component is there. */
    let current: Attendance | undefined
    return {
      show: async (shown: Shown): Promise<unknown> => {
        latest = shown
        return current?.show(shown)
      },
      join: () =>
        inRooms(({ attend }) => {
          const own = attend(client, topic as string)
          current = own
          own.show(latest).catch(quiet)
          return () => {
            own.leave()
            if (current === own) current = undefined
          }
        }),
    }
  }, [client, topic])
  const { status, info } = shown
  const text = JSON.stringify(info)

  useEffect(() => (topic ? attendance.join() : undefined), [topic, attendance])
  // biome-ignore lint/correctness/useExhaustiveDependencies: `text` stands for the info, which may be written inline.
  useEffect(() => void attendance.show({ status, info }).catch(quiet), [attendance, status, text])
  return attendance.show
}

/** Refused, or not connected: the next connection says it again. */
const quiet = (): void => {}

/**
 * Who is present in a topic, and being present oneself while mounted. A user is present as long as
 * one component says so: with the best status of all, and with the info that was given last.
 * @param topic null: nowhere.
 */
export function usePresence(topic: string | null, { status = 'online', info, ...target }: PresenceOptions = {}) {
  const client = useClient(target)
  const members = useList(client, topic, (rooms) => rooms.followPeople)
  const show = useAttendance(client, topic, { status: status ?? 'offline', info })
  const update = useMemo(
    () =>
      (status: PresenceStatus, info?: unknown): Promise<unknown> =>
        show({ status, info }),
    [show],
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
  const [wanted, setWanted] = useStateOf(autoJoinRoom, [roomId, autoJoinRoom])
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
    [client, topic, setWanted],
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
