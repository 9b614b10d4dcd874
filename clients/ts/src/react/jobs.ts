import type { ThroughlineEvent, Transport } from '@throughline/client'
import { useEffect, useReducer } from 'react'
import { useClient, useClientState } from './context.js'
import { useLatest } from './events.js'

/** What is known of a job. */
export interface JobProgress {
  /** 0 to 100. */
  progress: number
  status: string | null
  stage: string | null
  message: string | null
}

/** Options of {@link useJobProgress}. */
export interface JobProgressOptions {
  /** Default: true. */
  enableWebSocket?: boolean
  /** Default: true. */
  enablePolling?: boolean
  /** Milliseconds between polls, and between calls of `fetchJob` while events are not pushed. Default: 2000. */
  pollInterval?: number
  /** Fetches the job's state from your own API: at the start, and while events are not pushed. */
  fetchJob?: (jobId: string) => Promise<Partial<JobProgress>>
  /** Subscribes to `job:ID` as well, where your backend publishes to it. Default: false; events of the user are heard. */
  subscribe?: boolean
  /** The gateway's address, where there is no provider. */
  url?: string
}

const UNKNOWN: JobProgress = { progress: 0, status: null, stage: null, message: null }

const merge = (job: JobProgress, news: Partial<JobProgress> | null): JobProgress => {
  if (!news) return UNKNOWN
  const { progress = job.progress, status = job.status, stage = job.stage, message = job.message } = news
  return { progress, status, stage, message }
}

const transportsOf = (push: boolean, poll: boolean): Transport[] => [
  ...(push ? (['ws', 'sse'] as const) : []),
  ...(poll ? (['poll'] as const) : []),
]

/** The progress of one job, from the events that carry its `jobId`. */
export function useJobProgress(jobId: string, accessToken?: string | null, options: JobProgressOptions = {}) {
  const {
    enableWebSocket = true,
    enablePolling = true,
    pollInterval = 2000,
    fetchJob,
    subscribe = false,
    url,
  } = options
  const enabled = enableWebSocket || enablePolling
  const transports = enableWebSocket && enablePolling ? undefined : transportsOf(enableWebSocket, enablePolling)
  const client = useClient({ url, token: accessToken, transports, timing: { pollingInterval: pollInterval } }, enabled)
  const state = useClientState(client)
  const [job, update] = useReducer(merge, UNKNOWN)
  const fetcher = useLatest(fetchJob)
  const usingWebSocket = enabled && enableWebSocket && state.isRealtime

  useEffect(() => {
    update(null)
    const heard = (event: ThroughlineEvent): void => {
      const data = event.data as (Partial<JobProgress> & { jobId?: string }) | null
      if (data && (data.jobId === jobId || event.topic === `job:${jobId}`)) update(data)
    }
    if (!enabled) return
    return subscribe ? joined(client.onAny(heard), client.topic(`job:${jobId}`).subscribe()) : client.onAny(heard)
  }, [client, jobId, subscribe, enabled])

  useEffect(() => {
    let current = true
    const load = (): void => {
      fetcher.current?.(jobId).then(
        (news) => current && update(news),
        () => {}, // The next poll, or the next event, brings it.
      )
    }
    load()
    const timer = usingWebSocket || !enablePolling ? undefined : setInterval(load, pollInterval)
    return () => {
      current = false
      clearInterval(timer)
    }
  }, [jobId, usingWebSocket, enablePolling, pollInterval, fetcher])

  return { ...job, isConnected: enabled && state.transport !== null, usingWebSocket, transport: state.transport }
}

const joined =
  (...offs: (() => void)[]) =>
  (): void => {
    for (const off of offs) off()
  }
