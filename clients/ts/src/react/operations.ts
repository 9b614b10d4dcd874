/** A change of a text. Positions count UTF-16 units, as in JavaScript strings. */
export type TextOperation =
  | { type: 'insert'; position: number; content: string }
  | { type: 'delete'; position: number; length: number }

/** An operation that an application may send; those that are not text are passed on as they are. */
// biome-ignore lint/suspicious/noExplicitAny: applications add members of their own.
export type Operation = TextOperation | { type: string; [member: string]: any }

/**
 * The same change, after another one that was made to the same text has been applied.
 * An insertion into a text that the other side deleted goes with it, on both sides.
 * @param first whether `operation` counts as the earlier one where both insert at one place.
 */
export function transform(operation: Operation, other: Operation, first: boolean): Operation {
  const start = other.position as number
  const at = operation.position as number
  if (other.type === 'insert') {
    const size = (other.content as string).length
    if (operation.type === 'delete') {
      if (start <= at) return { ...operation, position: at + size } as Operation
      return start < at + operation.length
        ? ({ ...operation, length: operation.length + size } as Operation)
        : operation
    }
    if (operation.type !== 'insert') return operation
    return start < at || (start === at && !first) ? ({ ...operation, position: at + size } as Operation) : operation
  }
  if (other.type !== 'delete') return operation
  const end = start + (other.length as number)
  if (operation.type === 'insert') {
    if (at <= start) return operation
    return (
      at < end ? { ...operation, position: start, content: '' } : { ...operation, position: at - end + start }
    ) as Operation
  }
  if (operation.type !== 'delete') return operation
  const before = (point: number): number => (point <= start ? point : Math.max(start, point - end + start))
  const position = before(at)
  return { ...operation, position, length: before(at + operation.length) - position } as Operation
}
