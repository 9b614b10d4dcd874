const WAITING_MAX = 1000

/**
 * Turns a listener into an async iterator that holds at most 1,000 values for a slow reader. It
 * listens from the first `next` on: an iterator that is never read costs nothing.
 */
export async function* iterate<T>(listen: (listener: (value: T) => void) => () => void): AsyncIterableIterator<T> {
  const waiting: T[] = []
  let wake: (() => void) | undefined
  const off = listen((value) => {
    // One more than may wait tells that some were missed.
    if (waiting.length <= WAITING_MAX) waiting.push(value)
    wake?.()
  })
  try {
    for (;;) {
      if (waiting.length > WAITING_MAX) throw new Error('too many')
      if (waiting.length) yield waiting.shift() as T
      else
        await new Promise<void>((resolve) => {
          wake = resolve
        })
    }
  } finally {
    off()
  }
}
