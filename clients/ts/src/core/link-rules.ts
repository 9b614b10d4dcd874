import { type LinkState, RANK, type SwitchReason } from './ladder-types.js'
import type { Timing } from './timing.js'

/** By when an unproven link must have taken its next step, and what it means if it has not. */
export function deadline(link: LinkState, timing: Timing): [at: number, reason: SwitchReason] {
  const from = (time: number, ms: number): number => Math.max(time, link.graceFrom) + ms
  const { transport, openedAt, firstAt, climbing } = link
  if (!openedAt) return [from(link.startedAt, timing.connect), 'refused']
  if (transport === 'sse') {
    return [firstAt ? from(firstAt, timing.secondBatch) : from(openedAt, timing.firstByte), 'buffered']
  }
  // A probe must end before the gateway would retire the link beside it as replaced, 5 s on.
  return [from(openedAt, climbing ? Math.min(timing.prove, 2 * timing.stage) : timing.prove), 'silent']
}

/** Silent for too long, or about to end: anything proven is better. */
export const troubled = (link: LinkState): boolean => link.suspect || link.leaving

/**
 * Order of preference for the one link that writes; 0: has nothing to write. Proven before unproven, healthy
 * before troubled, then the better transport.
 */
export const score = (link: LinkState): number =>
  link.firstAt && 10 + (link.provenAt ? 20 : 0) - (troubled(link) ? 10 : 0) + RANK[link.transport]

/** Silence after which another link is started beside this one. */
export const suspectAfter = (link: LinkState, timing: Timing): number =>
  Math.min(timing.fallbackDelay, link.heartbeatMs + timing.heartbeatSlack)

/** Since when the link has been silent. After a jump of the clock it has `heartbeatSlack` left before it is suspect. */
export const silentSince = (link: LinkState, timing: Timing): number =>
  Math.max(link.heardAt, link.graceFrom && link.graceFrom + timing.heartbeatSlack - suspectAfter(link, timing))
