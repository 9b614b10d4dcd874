import type { Client, ThroughlineEvent, Transport } from '@throughline/client'
import { type Dispatch, type SetStateAction, useEffect, useMemo, useRef } from 'react'
import { type WebSocketStatus, websocketStatus } from './connection.js'
import { useLink } from './context.js'
import { useLatest, useStateOf } from './events.js'

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
  /**
   * Makes the new data from an event; without it an event makes `fetchData` run, at most every 250
   * ms.
   */
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

/** Fetches a snapshot. The signal is aborted when its result is not wanted any more. */
export type FetchData<T> = (request: { signal: AbortSignal }) => Promise<T>

type View<T> = Pick<HybridUpdates<T>, 'data' | 'loading' | 'error' | 'lastUpdate'>

const COALESCE_MS = 250
/** How long a call of `fetchData` may take. */
const FETCH_MS = 10_000
const EMPTY = { data: null, loading: true, error: null, lastUpdate: null }

/** One call of `fetchData`, which settles in any case. */
async function bounded<T>(fetchData: FetchData<T>, abort: AbortController): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`fetchData did not settle within ${FETCH_MS / 1000} s`))
      abort.abort()
    }, FETCH_MS)
  })
  try {
    return await Promise.race([fetchData({ signal: abort.signal }), late])
  } finally {
    clearTimeout(timer)
  }
}

/**
 * One fetch at a time; one asked for meanwhile follows, so that the last result is never older than
 * the wish.
 */
function createSnapshot<T>(fetchData: FetchData<T>, update: (change: Partial<View<T>>) => void) {
  let flight: { settled: Promise<void>; abort: AbortController } | undefined
  let again = false

  async function run(isCurrent: () => boolean): Promise<void> {
    while (again) {
      again = false
      const abort = new AbortController()
      if (flight) flight.abort = abort
      const change = await bounded(fetchData, abort).then(
        (data) => ({ data, error: null, lastUpdate: Date.now() }),
        (error: unknown) => ({ error }),
      )
      if (!isCurrent()) return
      update({ loading: false, ...change })
    }
    flight = undefined
  }

  return {
    /** A fetch is under way: what it brings may be older than what happens now. */
    isBusy: (): boolean => flight !== undefined,

    refresh(): Promise<void> {
      again = true
      if (!flight) {
        const own = { settled: Promise.resolve(), abort: new AbortController() }
        flight = own
        own.settled = run(() => flight === own)
      }
      return flight.settled
    },

    /** The result of the fetch under way is not wanted any more. */
    stop(): void {
      flight?.abort.abort()
      flight = undefined
    },
  }
}

/**
 * A snapshot kept fresh: by events while they are pushed, by fetching at an interval while they are
 * not.
 * @param fetchData may be written inline. A call that takes longer than 10 s is aborted, and
 * `error` says so.
 * @param userId starts anew when it changes; the gateway goes by the token, and by this name in
 * development only.
 */
export function useHybridUpdates<T>(
  fetchData: FetchData<T>,
  userId: string,
  config: HybridConfig<T> = {},
): HybridUpdates<T> {
  const { pollingInterval = 5000, websocketEnabled = true, fallbackDelay = 15_000, enableFeatureFlag = true } = config
  const enabled = websocketEnabled && enableFeatureFlag
  const state = useLink({ user: userId, timing: { fallbackDelay } }, enabled)
  const { client } = state
  const pushed = enabled && state.isRealtime
  const transport = enabled ? state.transport : null
  const latest = useLatest({ fetchData, transport })
  const [view, setView] = useStateOf<View<T>>(EMPTY, [client, userId])

  const snapshot = useMemo(
    () =>
      createSnapshot<T>(
        (request) => latest.current.fetchData(request),
        (change) => setView((view) => ({ ...view, ...change })),
      ),
    [setView, latest],
  )
  const { refresh } = snapshot
  /** The snapshot that is not older than the point from which events are told. */
  const caughtUp = useRef<unknown>(null)

  useEffect(() => {
    if (latest.current.transport) caughtUp.current = snapshot
    void snapshot.refresh()
    return snapshot.stop
  }, [snapshot, latest])

  useEffect(() => {
    if (!transport || caughtUp.current === snapshot) return
    caughtUp.current = snapshot
    void snapshot.refresh()
  }, [transport, snapshot])

  useEffect(() => {
    if (pushed) return
    const timer = setInterval(refresh, pollingInterval)
    return () => clearInterval(timer)
  }, [pushed, pollingInterval, refresh])

  useEvents(client, enabled, config.reduce, snapshot, setView)

  return {
    ...view,
    updateSource: pushed ? 'websocket' : 'polling',
    websocketStatus: enabled ? websocketStatus(state) : 'disconnected',
    refresh,
    transport,
  }
}

/** Lets events and resets keep the data fresh. */
function useEvents<T>(
  client: Client,
  enabled: boolean,
  reduce: HybridConfig<T>['reduce'],
  { refresh, isBusy }: ReturnType<typeof createSnapshot<T>>,
  setView: Dispatch<SetStateAction<View<T>>>,
): void {
  const latest = useLatest(reduce)
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
      const { current: reduce } = latest
      if (!reduce || isBusy()) soon(COALESCE_MS)
      if (!reduce) return
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
  }, [client, enabled, refresh, isBusy, setView, latest])
}
