'use client'
/** React hooks over one client, given by a provider or made for the page. */
export { useCollaboration } from './react/collaboration.js'
export {
  type UseWebSocketOptions,
  useWebSocket,
  useWebSocketCollaboration,
  useWebSocketConnection,
  useWebSocketRoom,
} from './react/compat.js'
export { useConnection, useConnectionIndicator, type WebSocketStatus } from './react/connection.js'
export { type ProviderProps, type Target, ThroughlineProvider, useClient } from './react/context.js'
export type { DocumentView, RemoteCursor, RemoteOperation } from './react/document.js'
export { useEvent, useEventState } from './react/events.js'
export {
  type Notice,
  type PreviewStatus,
  type Progress,
  type QueuePosition,
  type StatusFeed,
  type StatusFeedOptions,
  useStatusFeed,
} from './react/feed.js'
export { type Followed, followTopic } from './react/follow.js'
export { type HybridConfig, type HybridUpdates, useHybridUpdates } from './react/hybrid.js'
export { type JobProgress, type JobProgressOptions, useJobProgress } from './react/jobs.js'
export type { Operation, TextOperation } from './react/operations.js'
export { inRollout } from './react/rollout.js'
export { type PresenceOptions, type RoomOptions, usePresence, useRoom } from './react/room.js'
export type { Person, RoomMessage } from './react/rooms.js'
export { followState, type StateView, useTopicState } from './react/state.js'
