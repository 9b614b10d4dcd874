/**
 * Whether this user is among the first `percent` of a gradual rollout. The same user and feature always answer
 * the same, and a user who is in at 10 % is in at 50 %.
 * @param percent 0 to 100; anything else is clamped.
 */
export function inRollout(userId: string, percent: number, feature = 'throughline'): boolean {
  // FNV-1a, 32 bits, then mixed (the finalizer of MurmurHash3): near-equal ids spread evenly.
  let hash = 0x811c9dc5
  for (const char of `${feature}:${userId}`) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32 < percent / 100
}
