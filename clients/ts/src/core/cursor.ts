/**
 * True where both cursors are of one history and the first is not behind the second (PROTOCOL.md,
 * N5). Null, the place of a client that has not begun, is comparable with nothing.
 */
export function reaches(cursor: string | null, other: string | null): boolean {
  const [epoch, seq] = parts(cursor)
  const [otherEpoch, otherSeq] = parts(other)
  return epoch === otherEpoch && Number(seq) >= Number(otherSeq)
}

/**
 * True where an event lies behind the cursor, whose client has had it. An event without a number
 * lies nowhere.
 */
export const isPast = (seq: number | undefined, cursor: string | null): boolean =>
  Number(seq) <= Number(parts(cursor)[1])

const parts = (cursor: string | null): string[] => `${cursor}`.split('.')
