import type { ThroughlineEvent, Transport } from '@throughline/client'
import { useEffect, useMemo, useRef, useState } from 'react'
import { type WebSocketStatus, websocketStatus } from './connection.js'
import { useLink } from './context.js'
import { useLatest } from './events.js'

/** Options of {@link useHybridUpdates}. */
export interface HybridConfig<T = unknown> {
  /** Milliseconds between fetches while events are not pushed. Default: 5000. */
  pollingInterval?: number
  /** Default: true; false: fetch at the interval and connect to nothing. */
  websocketEnabled?: boolean
  /** Milliseconds of silence after which a link is not trusted. Default: 15000. */
  fallbackDelay?: number
  /** As `websocketEnabled`, for a feature flag; see `inRollout`. Default: true. */
  enableFeatureFlag?: boolean
  /** Makes the new data from an event; without it an event makes `fetchData` run, at most every 250 ms. */
  reduce?: (data: T, event: ThroughlineEvent) => T
}

/** What {@link useHybridUpdates} returns. */
export interface HybridUpdates<T> {
  data: T | null
  /** True until the first result. */
  loading: boolean
  updateSource: 'websocket' | 'polling'
  websocketStatus: WebSocketStatus
  refresh: () => Promise<void>
  /** Which transport delivers events; null: none. */
  transport: Transport | null
  /** What the latest fetch threw. */
  error: unknown
  /** When the latest data came, in milliseconds since 1970. */
  lastUpdate: number | null
}

const COALESCE_MS = 250
const EMPTY = { data: null, loading: true, error: null, lastUpdate: null }

/**
 * A snapshot kept fresh: by events while they are pushed, by fetching at an interval while they are not.
 * `fetchData` may be written inline.
 * @param userId starts anew when it changes; the gateway goes by the token, and by this name in development only.
 */
export function useHybridUpdates<T>(
  fetchData: () => Promise<T>,
  userId: string,
  config: HybridConfig<T> = {},
): HybridUpdates<T> {
  const { pollingInterval = 5000, websocketEnabled = true, fallbackDelay = 15_000, enableFeatureFlag = true } = config
  const enabled = websocketEnabled && enableFeatureFlag
  const state = useLink({ user: userId, timing: { fallbackDelay } }, enabled)
  const { client } = state
  const pushed = enabled && state.isRealtime
  const latest = useLatest({ fetchData, userId, reduce: config.reduce })
  const [view, setView] =
    useState<Omit<HybridUpdates<T>, 'updateSource' | 'websocketStatus' | 'refresh' | 'transport'>>(EMPTY)

  const refresh = useMemo(() => {
    /** One fetch at a time; one asked for meanwhile follows, so that the last result is never older than the wish. */
    let flight: Promise<void> | undefined
    let again = false
    const run = async (): Promise<void> => {
      do {
        again = false
        let next: Partial<typeof view>
        try {
          next = { data: await latest.current.fetchData(), error: null, lastUpdate: Date.now() }
        } catch (error) {
          next = { error }
        }
        if (latest.current.userId === userId) setView((view) => ({ ...view, loading: false, ...next }))
      } while (again)
      flight = undefined
    }
    return (): Promise<void> => {
      again = true
      flight ??= run()
      return flight
    }
  }, [userId, latest])

  useEffect(() => {
    setView(EMPTY)
    void refresh()
  }, [refresh])

  useEffect(() => {
    if (pushed) return
    const timer = setInterval(refresh, pollingInterval)
    return () => clearInterval(timer)
  }, [pushed, pollingInterval, refresh])

  useEffect(() => {
    if (!enabled) return
    let timer: ReturnType<typeof setTimeout> | undefined
    const soon = (ms: number): void => {
      timer ??= setTimeout(() => {
        timer = undefined
        void refresh()
      }, ms)
    }
    const offEvents = client.onAny((event) => {
      const { reduce } = latest.current
      if (!reduce) return soon(COALESCE_MS)
      setView((view) =>
        view.data === null ? view : { ...view, data: reduce(view.data, event), lastUpdate: Date.now() },
      )
    })
    const offReset = client.onReset((reset) => soon(reset.refetch_after_ms))
    return () => {
      clearTimeout(timer)
      offEvents()
      offReset()
    }
  }, [client, enabled, refresh, latest])

  // The first snapshot may be older than the point from which events are told.
  const transport = enabled ? state.transport : null
  const caught = useRef(false)
  useEffect(() => {
    if (!transport || caught.current) return
    caught.current = true
    void refresh()
  }, [transport, refresh])

  return {
    ...view,
    updateSource: pushed ? 'websocket' : 'polling',
    websocketStatus: enabled ? websocketStatus(state) : 'disconnected',
    refresh,
    transport,
  }
}
