import type { ThroughlineEvent, Transport } from '@throughline/client'
import { useEffect } from 'react'
import { useLink } from './context.js'
import { useFold } from './events.js'
import { followState } from './state.js'

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

/** The progress of one job, from the events that carry its `jobId`. */
export function useJobProgress(jobId: string, accessToken?: string | null, options: JobProgressOptions = {}) {
  const { enableWebSocket = true, enablePolling = true, pollInterval = 2000, topic, url } = options
  // A token that is still being fetched is not the same as none.
  const enabled = (enableWebSocket || enablePolling) && accessToken !== null && accessToken !== ''
  const transports = ALL.filter((transport) => (transport === 'poll' ? enablePolling : enableWebSocket))
  const { client, transport, isRealtime } = useLink(
    { url, token: accessToken, transports, timing: { pollingInterval: pollInterval } },
    enabled,
  )
  const advance = (job: JobProgress, { data }: ThroughlineEvent): JobProgress => {
    const news = data as (Partial<JobProgress> & { jobId?: string }) | null
    return news?.jobId === jobId ? { ...job, ...news } : job
  }
  const heard = enabled ? topic : null
  const [job, setJob] = useFold(client, heard, advance, UNKNOWN, jobId)
  // Where the job stands, if the topic keeps its state: only until its first event, which is later.
  const isKnown = job !== UNKNOWN
  // biome-ignore lint/correctness/useExhaustiveDependencies: `advance` is of the job.
  useEffect(() => {
    if (!heard || isKnown) return
    return followState(client, heard, ({ keys }) => {
      const events = [...keys.values()].sort((a, b) => (a.seq ?? 0) - (b.seq ?? 0))
      setJob((job) => (job === UNKNOWN ? events.reduce(advance, job) : job))
    })
  }, [client, heard, isKnown, setJob, jobId])

  return {
    ...job,
    isConnected: enabled && transport !== null,
    usingWebSocket: enabled && isRealtime,
    transport,
  }
}
