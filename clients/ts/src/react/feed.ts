import type { ThroughlineEvent } from '@throughline/client'
import { useCallback, useEffect, useReducer } from 'react'
import { type Target, useClient, useClientState } from './context.js'

/** Place in a queue; `estimatedWaitTime` in seconds. */
export interface QueuePosition {
  position: number
  total: number
  estimatedWaitTime?: number
}

/** A step of a longer piece of work; `progress` in per cent. */
export interface Progress {
  stage?: string
  progress: number
  message?: string
}

/** A preview's life. */
export interface PreviewStatus {
  status: string
  url?: string | null
  message?: string
}

/** Something to tell the user. */
export interface Notice {
  /** Unique within the feed. */
  id: string
  type: string
  message: string
  timestamp: string
  data: unknown
}

interface Feed {
  queuePosition: QueuePosition | null
  syncProgress: Progress | null
  previewStatus: PreviewStatus | null
  generationProgress: Progress | null
  notifications: readonly Notice[]
  errors: readonly Notice[]
}

const NOTICES_MAX = 50
const EMPTY: Feed = {
  queuePosition: null,
  syncProgress: null,
  previewStatus: null,
  generationProgress: null,
  notifications: [],
  errors: [],
}

const LATEST: Record<string, keyof Feed> = {
  'queue:position': 'queuePosition',
  'sync:progress': 'syncProgress',
  'preview:status': 'previewStatus',
  'generation:progress': 'generationProgress',
}
const LISTS: Record<string, 'notifications' | 'errors'> = { notification: 'notifications', error: 'errors' }

function advance(feed: Feed, happened: ThroughlineEvent | 'notifications' | 'errors'): Feed {
  if (typeof happened === 'string') return { ...feed, [happened]: [] }
  const { type, data, time } = happened
  const latest = LATEST[type]
  if (latest) return { ...feed, [latest]: data }
  const list = LISTS[type]
  if (!list) return feed
  const told = (typeof data === 'object' && data ? data : { message: String(data) }) as Record<string, unknown>
  const notice: Notice = {
    id: happened.id ?? `${happened.seq ?? time}`,
    type: String(told.type ?? told.level ?? (list === 'errors' ? 'error' : 'info')),
    message: String(told.message ?? told.title ?? ''),
    timestamp: time,
    data,
  }
  return { ...feed, [list]: [...feed[list], notice].slice(-NOTICES_MAX) }
}

/** Options of {@link useStatusFeed}. */
export interface StatusFeedOptions extends Omit<Target, 'user'> {
  userId?: string
  /** Default: true. */
  autoConnect?: boolean
}

/** Queue, progress, preview, notifications and errors of one user, as the events tell them. */
export function useStatusFeed({ userId, autoConnect = true, ...target }: StatusFeedOptions = {}) {
  const client = useClient({ ...target, user: userId }, autoConnect)
  const state = useClientState(client)
  const [feed, dispatch] = useReducer(advance, EMPTY)
  useEffect(() => (autoConnect ? client.onAny(dispatch) : undefined), [client, autoConnect])
  return {
    ...feed,
    connected: state.transport !== null,
    transport: state.transport,
    clearNotifications: useCallback(() => dispatch('notifications'), []),
    clearErrors: useCallback(() => dispatch('errors'), []),
  }
}

/** What {@link useStatusFeed} returns. */
export type StatusFeed = ReturnType<typeof useStatusFeed>
