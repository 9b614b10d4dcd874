import type { ThroughlineEvent } from '@throughline/client'
import { useMemo } from 'react'
import { type Target, useLink } from './context.js'
import { useFold } from './events.js'

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

function advance(feed: Feed, { type, data, time, id, seq }: ThroughlineEvent): Feed {
  // The latest of `queue:position` is the feed's `queuePosition`.
  const place = type.replace(/:./, (letter) => (letter[1] as string).toUpperCase())
  if (place !== type && Object.hasOwn(feed, place)) return { ...feed, [place]: data }
  if (type !== 'error' && type !== 'notification') return feed
  const list = `${type}s` as const
  const told = (data instanceof Object ? data : { message: data }) as Record<string, unknown>
  const notice: Notice = {
    id: `${id ?? seq ?? time}`,
    type: `${told.type ?? told.level ?? (type === 'error' ? type : 'info')}`,
    message: `${told.message ?? told.title ?? ''}`,
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
  const { client, transport } = useLink({ ...target, user: userId }, autoConnect)
  const [feed, setFeed] = useFold(client, autoConnect ? undefined : null, advance, EMPTY)
  const clear = (list: keyof Feed) => () => setFeed((feed) => ({ ...feed, [list]: [] }))
  return {
    ...feed,
    connected: transport !== null,
    transport,
    // biome-ignore lint/correctness/useExhaustiveDependencies: it only ever sets state.
    ...useMemo(() => ({ clearNotifications: clear('notifications'), clearErrors: clear('errors') }), [setFeed]),
  }
}

/** What {@link useStatusFeed} returns. */
export type StatusFeed = ReturnType<typeof useStatusFeed>
