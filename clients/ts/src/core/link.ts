import type { Env } from './env.js'
import type { Close } from './ladder-types.js'

/** What a transport reports. After `closed` it reports nothing more. */
export interface LinkEvents {
  /** The socket is open, or the response head is there. */
  open(): void
  /** Any byte. */
  heard(): void
  /** One JSON text: a batch or a reply. @returns true where the gateway has more for a poll already. */
  message(text: string): boolean
  closed(close: Close): void
}

/** A running transport. */
export interface Link {
  /** Sends a command in band; undefined where the transport cannot. */
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
  params(): Record<string, string | undefined>
  readonly pad: boolean
  readonly pollWaitMs: number
  readonly pollSlackMs: number
  readonly pollingIntervalMs: number
}

/** Opens a transport. */
export type OpenLink = (request: LinkRequest, events: LinkEvents) => Link

let unique = 0

/** An address under the base, with a query that no cache has seen. */
export function address(request: LinkRequest, path: string, more: Record<string, string | undefined> = {}): string {
  const url = new URL(path, request.base)
  for (const [name, value] of Object.entries({ ...request.params(), ...more })) {
    if (value !== undefined) url.searchParams.set(name, value)
  }
  unique += 1
  url.searchParams.set('_', `${request.env.now().toString(36)}${unique.toString(36)}`)
  return url.href
}

/** Request options shared by everything that goes over fetch. */
export function fetchInit(request: Pick<LinkRequest, 'token' | 'credentials'>, signal?: AbortSignal): RequestInit {
  const token = request.token()
  const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {}
  return { headers, cache: 'no-store', credentials: request.credentials, signal: signal ?? null }
}

const RETRY_AFTER_SECONDS_MAX = 600

/**
 * What a response other than 200 means. Only the gateway's own refusals (problem+json) are final: a proxy's 403
 * or 400 says something about the path, and another transport may pass.
 */
export function refusal(response: Response): Close {
  const { status, headers } = response
  const own = (headers.get('content-type') ?? '').includes('problem+json')
  const seconds = Number(headers.get('retry-after') ?? '')
  const retryAfterMs = seconds > 0 ? Math.min(seconds, RETRY_AFTER_SECONDS_MAX) * 1000 : 0
  const common = { code: status, message: `HTTP ${status}`, retryAfterMs }
  if (status === 401) return { ...common, kind: 'auth' }
  if (status === 429 || (status === 503 && own)) return { ...common, kind: 'busy' }
  if (own && (status === 400 || status === 403)) return { ...common, kind: 'fatal' }
  return { ...common, kind: 'lost' }
}
