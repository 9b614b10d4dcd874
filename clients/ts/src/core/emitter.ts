/** Listeners by name. One that throws is reported and does not keep the others from hearing. */
export class Emitter<T> {
  private readonly listeners = new Map<string, Set<(value: T) => void>>()

  on(name: string, listener: (value: T) => void): () => void {
    // A wrapper of its own, so that the same function can listen twice and leave once.
    const own = (value: T): void => listener(value)
    const set = this.listeners.get(name) ?? new Set()
    this.listeners.set(name, set.add(own))
    return () => {
      set.delete(own)
      if (set.size === 0 && this.listeners.get(name) === set) this.listeners.delete(name)
    }
  }

  emit(name: string, value: T): void {
    for (const listener of [...(this.listeners.get(name) ?? [])]) {
      try {
        listener(value)
      } catch (error) {
        report(error)
      }
    }
  }
}

/** Lets an application's exception surface as an uncaught one without ending what was under way. */
export function report(error: unknown): void {
  const scope = globalThis as { reportError?: (error: unknown) => void }
  if (scope.reportError) scope.reportError(error)
  else console.error(error)
}
