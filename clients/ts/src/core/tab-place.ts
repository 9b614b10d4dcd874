import { isPast, reaches } from './cursor.js'
import type { Delivery } from './session.js'
import type { Lead } from './tab-messages.js'
import type { Wishes } from './wishes.js'

/** Where a tab is in the log, beside its leader. */
export function createPlace(session: { readonly cursor: string | null }, own: Wishes) {
  /** True where this tab has all that came up to there. */
  const has = (cursor: string | null): boolean => session.cursor === cursor || reaches(session.cursor, cursor)

  /**
   * True where the leader receives all that this tab wants, or was refused it.
   * @param here after this tab's place.
   */
  function covers({ topics, refused }: Lead, here = true): boolean {
    const since = new Map(topics)
    const { cursor } = session
    return own.topics().every((topic) => {
      const from = since.get(topic)
      const isThere = from !== undefined && (!here || cursor === null || reaches(cursor, from))
      return isThere || refused.some((refusal) => refusal.topic === topic)
    })
  }

  /**
   * True where nothing is lost by following: a tab that has not begun begins where the leader is.
   */
  const fits = (lead: Lead): boolean => (session.cursor === null || has(lead.cursor)) && covers(lead)

  return { has, covers, fits }
}

/** What a tab at this place has not had. After a reset numbers begin anew. */
export function newOf(deliveries: readonly Delivery[], at: string | null): Delivery[] {
  let isReset = false
  return deliveries.filter((one) => {
    if ('reset' in one) isReset ||= one.reset.reason !== 'expired'
    return 'reset' in one || isReset || !isPast(one.seq, at)
  })
}
