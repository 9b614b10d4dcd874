const WAITING_MAX = 1000

/** Turns a listener into an async iterator that holds at most 1,000 values for a slow reader. */
export function iterate<T>(listen: (listener: (value: T) => void) => () => void): AsyncIterableIterator<T> {
  const waiting: T[] = []
  let wake: (() => void) | null = null
  let over = false
  let overflow = false
  const off = listen((value) => {
    if (waiting.length < WAITING_MAX) waiting.push(value)
    else overflow = true
    wake?.()
  })
  const end = async (): Promise<IteratorResult<T>> => {
    over = true
    off()
    wake?.()
    return { done: true, value: undefined }
  }
  return {
    [Symbol.asyncIterator]() {
      return this
    },
    async next() {
      while (!over) {
        const value = waiting.shift()
        if (value !== undefined) return { done: false, value }
        if (overflow) {
          await end()
          throw new Error(`the reader fell more than ${WAITING_MAX} events behind`)
        }
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      return { done: true, value: undefined }
    },
    return: end,
  }
}
