import type { ThroughlineEvent, Transport } from '@throughline/client'
import { useEffect, useReducer } from 'react'
import { useClient, useClientState } from './context.js'

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
  /** Milliseconds between polls on a path that cuts long polls. Default: 2000. */
  pollInterval?: number
  /** A topic to subscribe to, where your backend does not publish to the user's own. */
  topic?: string
  /** The gateway's address, where there is no provider. */
  url?: string
}

const ALL: readonly Transport[] = ['ws', 'sse', 'poll']
const UNKNOWN: JobProgress = { progress: 0, status: null, stage: null, message: null }

const merge = (job: JobProgress, news: Partial<JobProgress> | null): JobProgress => {
  if (!news) return UNKNOWN
  const { progress = job.progress, status = job.status, stage = job.stage, message = job.message } = news
  return { progress, status, stage, message }
}

/** The progress of one job, from the events that carry its `jobId`. */
export function useJobProgress(jobId: string, accessToken?: string | null, options: JobProgressOptions = {}) {
  const { enableWebSocket = true, enablePolling = true, pollInterval = 2000, topic, url } = options
  // A token that is still being fetched is not the same as none.
  const enabled = (enableWebSocket || enablePolling) && accessToken !== null && accessToken !== ''
  const transports = ALL.filter((transport) => (transport === 'poll' ? enablePolling : enableWebSocket))
  const client = useClient({ url, token: accessToken, transports, timing: { pollingInterval: pollInterval } }, enabled)
  const state = useClientState(client)
  const [job, update] = useReducer(merge, UNKNOWN)

  useEffect(() => {
    update(null)
    if (!enabled) return
    return (topic ? client.topic(topic) : client).onAny(({ data }: ThroughlineEvent) => {
      const news = data as (Partial<JobProgress> & { jobId?: string }) | null
      if (news?.jobId === jobId) update(news)
    })
  }, [client, jobId, topic, enabled])

  return {
    ...job,
    isConnected: enabled && state.transport !== null,
    usingWebSocket: enabled && state.isRealtime,
    transport: state.transport,
  }
}
