import type { LinkState, SwitchReason } from './ladder-types.js'
import { SSE } from './rung.js'
import { BESIDE_MS, BESIDE_TIMES, FIRST_BYTE_MS, HEARTBEAT_SLACK_MS, OWED_MS, PROVE_MS } from './timing.js'

/**
 * By when an unproven link must have taken its next step, and what it means if it has not. Beside a
 * writer that works each step gets little longer than such a path needs: two links are one too
 * many.
 */
export function deadline(link: LinkState, writer: LinkState | null): [at: number, reason: SwitchReason] {
  const { rung, startedAt, openedAt, firstAt, graceFrom } = link
  const [ms, reason]: [number, SwitchReason] = !openedAt
    ? [link.connectMs, 'refused']
    : rung === SSE
      ? [firstAt ? OWED_MS : FIRST_BYTE_MS, 'buffered']
      : [PROVE_MS, 'silent']
  const since = Math.max(firstAt ?? openedAt ?? startedAt, graceFrom)
  const at = since + ms
  if (!writer?.provenAt || troubled(writer)) return [at, reason]
  const answeredMs = (writer.openedAt as number) - writer.startedAt
  return [Math.min(at, Math.max(since, writer.provenAt) + BESIDE_MS + BESIDE_TIMES * answeredMs), reason]
}

/** Silent for too long, or about to end: anything proven is better. */
export const troubled = (link: LinkState): boolean => !!(link.suspect || link.leaving)

/**
 * Order of preference for the one link that writes: proven before unproven, healthy before
 * troubled, then the better transport.
 */
export const score = (link: LinkState): number => (link.provenAt ? 20 : 0) - (troubled(link) ? 10 : 0) + link.rung

/**
 * When silence becomes suspect: another link is started beside this one. After a jump of the clock,
 * a little later.
 */
export function suspectAt(link: LinkState, fallbackDelay: number): number {
  const patience = link.owes ? OWED_MS : Math.min(fallbackDelay, link.heartbeatMs + HEARTBEAT_SLACK_MS)
  return Math.max(link.heardAt + patience, link.graceFrom && link.graceFrom + HEARTBEAT_SLACK_MS)
}

/** Under way, and neither proven nor given up. */
export const flying = (link: LinkState): boolean => !link.provenAt && !link.closeAt
