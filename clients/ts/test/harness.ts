import {
  type ClientOptions,
  createClient,
  type Reset,
  type Telemetry,
  type ThroughlineEvent,
} from '@throughline/client'
import type { FakeServer } from '@throughline/client/testing'

/** A client on a fake server, and everything that the application saw. */
export function connectTo(server: Pick<FakeServer, 'env'>, options: ClientOptions = {}) {
  const seqs: number[] = []
  const events: ThroughlineEvent[] = []
  const resets: Reset[] = []
  const reports: Telemetry[] = []
  const client = createClient({
    ...options,
    env: { ...server.env, ...options.env },
    telemetry: (report) => reports.push(report),
  })
  client.onAny((event) => {
    events.push(event)
    if (event.seq !== undefined) seqs.push(event.seq)
  })
  client.onReset((reset) => resets.push(reset))
  return { client, seqs, events, resets, reports }
}

export const SECOND = 1000
export const MINUTE = 60 * SECOND

/** 1, 2, … n. */
export const upTo = (n: number): number[] => Array.from({ length: n }, (_, index) => index + 1)

/** How many streams and polls are open at the server. */
export const liveLinks = (server: FakeServer): number => server.open.ws + server.open.sse
