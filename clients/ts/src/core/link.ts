import type { Env } from './env.js'
import type { Close } from './ladder-types.js'
import type { Timing } from './timing.js'

/** What a transport reports. Reports after the first `closed`, or after its own end, are not heard. */
export interface LinkEvents {
  /** Any byte, an open socket or a response head included. */
  heard(): unknown
  /** One JSON text: a batch or a reply. @returns true where the gateway has more for a poll already. */
  message(text: string): boolean
  closed(close: Close): void
}

/** A running transport. */
export interface Link {
  /** Sends a command in band; absent where the transport cannot. */
  readonly send?: (text: string) => void
  /** Ends it without a report. */
  close(): void
}

/** What a transport needs to know. */
export interface LinkRequest {
  readonly env: Env
  /** The gateway's base address, ending in a slash. */
  readonly base: string
  readonly credentials: RequestCredentials
  /** As of now: a poll asks before every request. */
  token(): string | null
  /** Query parameters as of now: cursor, topics, session. */
  params(): Record<string, string | number | undefined>
  readonly pad: boolean
  readonly timing: Timing
}

/** Opens a transport. */
export type OpenLink = (request: LinkRequest, events: LinkEvents) => Link

let unique = 0

/** An address under the base, with a query that no cache has seen. */
export function address({ base, env, params }: LinkRequest, path: string, more: object = {}): string {
  const url = new URL(path, base)
  unique += 1
  const all = { ...params(), ...more, _: `${env.now().toString(36)}${unique}` }
  for (const [name, value] of Object.entries(all)) if (value) url.searchParams.set(name, value)
  return url.href
}

/** Request options shared by everything that goes over fetch. */
export function fetchInit({ token, credentials }: LinkRequest, signal: AbortSignal): RequestInit {
  const bearer = token()
  return { headers: bearer ? { authorization: `Bearer ${bearer}` } : {}, cache: 'no-store', credentials, signal }
}

const WAIT_MAX_SECONDS = 600

/**
 * What a response other than 200 means. Only the gateway's own refusals (problem+json) are final: a proxy's 403
 * or 400 says something about the path, and another transport may pass.
 */
export function refusal({ status, headers }: Response): Close {
  const own = headers.get('content-type')?.includes('problem+json')
  const waitMs = Math.min(Number(headers.get('retry-after')) || 0, WAIT_MAX_SECONDS) * 1000
  const busy = status === 429 || (own && status === 503)
  const kind = status === 401 ? 'auth' : busy ? 'busy' : own && (status === 400 || status === 403) ? 'fatal' : 'lost'
  return { kind, code: status, message: `HTTP ${status}`, waitMs }
}
