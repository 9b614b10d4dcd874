/**
 * Those who listen to one thing. One that throws is reported and does not keep the others from
 * hearing.
 */
export function createListeners<T>() {
  const listeners = new Set<{ hear: (value: T) => void }>()
  return {
    /** @returns stops listening. The same function may listen twice. */
    add(hear: (value: T) => void): () => void {
      const own = { hear }
      listeners.add(own)
      return () => void listeners.delete(own)
    },

    tell(value: T): void {
      for (const { hear } of [...listeners]) guarded(hear)(value)
    },
  }
}

/** A function of the application's whose exceptions are reported and go no further. */
export function guarded<T>(hear: ((value: T) => void) | undefined): (value: T) => void {
  return (value) => {
    try {
      hear?.(value)
    } catch (error) {
      report(error)
    }
  }
}

/** Lets an application's exception surface as an uncaught one without ending what was under way. */
export function report(error: unknown): void {
  const { reportError = console.error } = globalThis as { reportError?: (error: unknown) => void }
  reportError(error)
}
