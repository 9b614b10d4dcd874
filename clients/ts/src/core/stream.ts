const WAITING_MAX = 1000

/** Turns a listener into an async iterator that holds at most 1,000 values for a slow reader. */
export function iterate<T>(listen: (listener: (value: T) => void) => () => void): AsyncIterableIterator<T> {
  const waiting: T[] = []
  let wake = (): void => {}
  let missed = 0
  const off = listen((value) => {
    if (waiting.length < WAITING_MAX) waiting.push(value)
    else missed += 1
    wake()
  })
  return (async function* () {
    try {
      for (;;) {
        while (waiting.length) yield waiting.shift() as T
        if (missed) throw new Error(`the reader fell more than ${WAITING_MAX} events behind`)
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    } finally {
      off()
    }
  })()
}
