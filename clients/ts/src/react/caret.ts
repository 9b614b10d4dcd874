import type { Client } from '@throughline/client'

const CARET_MS = 100

/**
 * Tells the others where this user's cursor is, at most ten times a second; the latest place is
 * always told.
 */
export function createCaret(client: Client, topic: string) {
  let isOpen = false
  let waiting: { position?: unknown } | null = null

  function tell(position: unknown): void {
    const user_id = client.hello?.user
    const told = client.topic(topic).cast('cursor_moved', { user_id, position, timestamp: Date.now() }, user_id)
    told.catch(() => {}) // The next move tells it.
    const next: { position?: unknown } = {}
    waiting = next
    setTimeout(() => {
      waiting = null
      if ('position' in next && isOpen) tell(next.position)
    }, CARET_MS)
  }

  return {
    open(): void {
      isOpen = true
    },

    close(): void {
      isOpen = false
    },

    move(position: unknown): void {
      if (waiting) waiting.position = position
      else tell(position)
    },
  }
}
