import { useCollaboration } from './collaboration.js'
import { useConnection } from './connection.js'
import { type StatusFeedOptions, useStatusFeed } from './feed.js'
import { type RoomOptions, useRoom } from './room.js'

/** Options of {@link useWebSocket}. */
export interface UseWebSocketOptions extends StatusFeedOptions, RoomOptions {
  roomId?: string | null
}

/**
 * Everything in one hook: the user's status feed, and with `roomId` a room with its collaboration.
 */
export function useWebSocket(options: UseWebSocketOptions = {}) {
  const { roomId } = options
  const target = { ...options, user: options.userId }
  const feed = useStatusFeed(options)
  const connection = useConnection(target)
  const room = useRoom(roomId, target)
  return { ...feed, connection, room, collaboration: useCollaboration(roomId, target) }
}

export {
  useCollaboration as useWebSocketCollaboration,
  useConnection as useWebSocketConnection,
  useRoom as useWebSocketRoom,
}
