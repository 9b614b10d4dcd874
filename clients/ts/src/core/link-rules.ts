import type { LinkState, SwitchReason } from './ladder-types.js'
import { RANK } from './ladder-types.js'
import type { Timing } from './timing.js'

/** By when an unproven link must have taken its next step, and what it means if it has not. */
export function deadline(link: LinkState, timing: Timing): { at: number; reason: SwitchReason } {
  const from = (time: number): number => Math.max(time, link.graceFrom)
  if (link.openedAt === null) return { at: from(link.startedAt) + timing.connect, reason: 'refused' }
  if (link.transport === 'sse') {
    return link.firstAt === null
      ? { at: from(link.openedAt) + timing.firstByte, reason: 'buffered' }
      : { at: from(link.firstAt) + timing.secondBatch, reason: 'buffered' }
  }
  if (link.transport === 'poll') return { at: from(link.openedAt) + timing.connect, reason: 'silent' }
  // A probe must end before the gateway would retire the link beside it as replaced, 5 s on.
  const prove = link.probe ? Math.min(timing.prove, 2 * timing.stage) : timing.prove
  return { at: from(link.openedAt) + prove, reason: 'silent' }
}

/**
 * Order of preference for the one link that writes; below zero: has nothing to write. Proven before unproven,
 * healthy before suspect or leaving, then the better transport.
 */
export function score(link: LinkState): number {
  if (link.firstAt === null) return -1
  const proven = link.provenAt === null ? 0 : 20
  return 10 + proven - (troubled(link) ? 10 : 0) + RANK[link.transport]
}

/** Silent for too long, or about to end: anything proven is better. */
export const troubled = (link: LinkState): boolean => link.suspect || link.leaving

/** Silence after which another link is started beside this one. */
export function suspectAfter(link: LinkState, timing: Timing): number {
  return Math.min(timing.fallbackDelay, link.heartbeatMs + timing.heartbeatSlack)
}

/** How long the link has been silent. After a jump of the clock it has `heartbeatSlack` left before it is suspect. */
export function silentFor(link: LinkState, now: number, timing: Timing): number {
  const grace = link.graceFrom + timing.heartbeatSlack - suspectAfter(link, timing)
  return now - (link.graceFrom > 0 ? Math.max(link.heardAt, grace) : link.heardAt)
}
