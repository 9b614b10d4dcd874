import { type LinkState, SSE, type SwitchReason } from './ladder-types.js'
import { CONNECT_MS, FIRST_BYTE_MS, HEARTBEAT_SLACK_MS, OWED_MS, PROVE_MS } from './timing.js'

/** By when an unproven link must have taken its next step, and what it means if it has not. */
export function deadline(link: LinkState): [at: number, reason: SwitchReason] {
  const { rung, openedAt, firstAt } = link
  const from = (time: number): number => Math.max(time, link.graceFrom)
  if (!openedAt) return [from(link.startedAt) + CONNECT_MS, 'refused']
  if (rung !== SSE) return [from(openedAt) + PROVE_MS, 'silent']
  return [firstAt ? from(firstAt) + OWED_MS : from(openedAt) + FIRST_BYTE_MS, 'buffered']
}

/** Silent for too long, or about to end: anything proven is better. */
export const troubled = (link: LinkState): boolean => !!(link.suspect || link.leaving)

/**
 * Order of preference for the one link that writes: proven before unproven, healthy before troubled, then the better
 * transport.
 */
export const score = (link: LinkState): number => (link.provenAt ? 20 : 0) - (troubled(link) ? 10 : 0) + link.rung

/** When silence becomes suspect: another link is started beside this one. After a jump of the clock, a little later. */
export function suspectAt(link: LinkState, fallbackDelay: number): number {
  const patience = link.owes ? OWED_MS : Math.min(fallbackDelay, link.heartbeatMs + HEARTBEAT_SLACK_MS)
  return Math.max(link.heardAt + patience, link.graceFrom && link.graceFrom + HEARTBEAT_SLACK_MS)
}
