/** A hundredth of what a hash may be. */
const PER_CENT = 42_949_673

/**
 * Whether this user is among the first `percent` of a gradual rollout. The same user and feature
 * always answer the same, and a user who is in at 10 % is in at 50 %.
 * @param percent 0 to 100; anything else is clamped.
 */
export function inRollout(userId: string, percent: number, feature = 'throughline'): boolean {
  let hash = 0
  // Each character is mixed into all bits: near-equal ids spread evenly.
  for (const char of `${feature}:${userId}`) {
    hash = Math.imul(hash ^ (char.codePointAt(0) as number), 0x9e3779b1)
    hash ^= hash >>> 15
  }
  return hash >>> 0 < percent * PER_CENT
}
