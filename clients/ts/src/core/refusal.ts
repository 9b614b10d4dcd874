import type { Close } from './close.js'

const WAIT_MAX_SECONDS = 600

/**
 * What a response other than 200 means. Only the gateway's own refusals (problem+json) are final: a
 * proxy's 403 or 400 says something about the path, and another transport may pass.
 */
export function refusal({ status, headers }: Response): Close {
  const own = headers.get('content-type')?.includes('problem+json')
  const waitMs = Math.min(Number(headers.get('retry-after')) || 0, WAIT_MAX_SECONDS) * 1000
  const busy = status === 429 || (own && status === 503)
  const kind = status === 401 ? 'auth' : busy ? 'busy' : own && (status === 400 || status === 403) ? 'fatal' : 'lost'
  return { kind, code: status, message: `HTTP ${status}`, waitMs }
}
