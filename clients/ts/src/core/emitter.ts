/** Listeners by name. One that throws is reported and does not keep the others from hearing. */
export function createEmitter() {
  const listeners = new Map<string, Set<{ hear: (value: never) => void }>>()
  return {
    /** @returns stops listening. The same function may listen twice. */
    on(name: string, hear: (value: never) => void): () => void {
      const set = listeners.get(name) ?? new Set()
      const own = { hear }
      listeners.set(name, set.add(own))
      return () => {
        set.delete(own)
        if (!set.size && listeners.get(name) === set) listeners.delete(name)
      }
    },

    emit(name: string, value: unknown): void {
      for (const { hear } of [...(listeners.get(name) ?? [])]) {
        try {
          hear(value as never)
        } catch (error) {
          report(error)
        }
      }
    },
  }
}

/** Lets an application's exception surface as an uncaught one without ending what was under way. */
export function report(error: unknown): void {
  const { reportError = console.error } = globalThis as { reportError?: (error: unknown) => void }
  reportError(error)
}
