'use client'
/** TanStack Query: events keep queries fresh. */
import type { QueryKey } from '@tanstack/react-query'
import { useQueryClient } from '@tanstack/react-query'
import type { ThroughlineEvent } from '@throughline/client'
import { followTopic, useClient } from '@throughline/client/react'
import { useEffect, useRef } from 'react'

const COALESCE_MS = 250

/** Options of {@link useQuerySync}. */
export interface QuerySyncOptions<T> {
  /** Which events concern the query. Default: all. */
  filter?: (event: ThroughlineEvent) => boolean
  /** Subscribes to this topic and hears only its events. */
  topic?: string
  /**
   * The cursor that the fetched data came with: one that was taken before the data was read. What
   * was published since then is taken from the log, so that nothing is missed between the fetch and
   * the stream. Needs `topic`.
   */
  cursor?: (data: T) => string | null | undefined
  /**
   * Writes an event into the cached data instead of fetching anew; undefined: fetch anew after all.
   */
  update?: (data: T, event: ThroughlineEvent) => T | undefined
}

/**
 * Invalidates a query when an event concerns it, at most every 250 ms, and when events may have
 * been missed. With `update` an event is written into the cache instead, each seq once: never an
 * older one over a newer one.
 */
// Its effect is one piece: what it hears, fetches and follows begins and ends together.
export function useQuerySync<T>(queryKey: QueryKey, options: QuerySyncOptions<T> = {}): void {
  const client = useClient()
  const queries = useQueryClient()
  const latest = useRef(options)
  useEffect(() => {
    latest.current = options
  })
  const { topic } = options
  const isCursored = !!topic && !!options.cursor
  const hash = JSON.stringify(queryKey)

  // biome-ignore lint/correctness/useExhaustiveDependencies: `hash` stands for the key.
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    let seen = 0
    const isFetching = (isFirst: boolean): boolean =>
      queries.isFetching({ queryKey, predicate: ({ state }) => !isFirst || state.data === undefined }) > 0
    const invalidate = async (): Promise<void> => {
      timer = undefined
      // A first fetch is not begun anew by this, and may have begun before the event.
      const isOlder = isFetching(true)
      await queries.invalidateQueries({ queryKey })
      if (isOlder) await queries.invalidateQueries({ queryKey })
    }
    const soon = (ms: number): void => {
      timer ??= setTimeout(() => void invalidate(), ms)
    }
    const heard = (event: ThroughlineEvent): void => {
      const { filter, update } = latest.current
      if (filter?.(event) === false || (event.seq !== undefined && event.seq <= seen)) return
      seen = event.seq ?? seen
      const data = queries.getQueryData<T>(queryKey)
      const next = update && data !== undefined ? update(data, event) : undefined
      if (next !== undefined) queries.setQueryData(queryKey, next)
      // What a fetch under way brings may be older than the event.
      if (next === undefined || (!isCursored && isFetching(false))) soon(COALESCE_MS)
    }
    let place: string | null | undefined
    let follower: ReturnType<typeof followTopic> | undefined
    /** Takes what was published since the data was read, from the cursor of each fetch. */
    const follow = (): void => {
      const data = queries.getQueryData<T>(queryKey)
      const after = data === undefined ? undefined : latest.current.cursor?.(data)
      if (!topic || !after || after === place) return
      place = after
      seen = 0
      follower?.close()
      follower = followTopic(client, topic, after, { take: heard, lost: () => soon(0) })
      follower.open()
    }
    const listen = (): (() => void) => (topic ? client.topic(topic).onAny(heard) : client.onAny(heard))
    const off = isCursored ? queries.getQueryCache().subscribe(follow) : listen()
    if (isCursored) follow()
    const offReset = client.onReset(({ reason, refetch_after_ms }) => {
      if (reason !== 'expired') seen = 0
      soon(refetch_after_ms)
    })
    return () => {
      off()
      follower?.close()
      offReset()
      if (timer === undefined) return
      clearTimeout(timer)
      void invalidate()
    }
  }, [client, queries, topic, isCursored, hash])
}
