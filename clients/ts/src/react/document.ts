import { type Client, CommandError, type ThroughlineEvent } from '@throughline/client'
import { type Operation, transform } from './operations.js'

/** Another person's operation, rebased onto what has been done here. */
export type RemoteOperation = Operation & { user_id: string; timestamp: number | string; seq: number }

/** Where someone's cursor is; latest wins. */
export interface RemoteCursor {
  user_id: string
  position: unknown
  timestamp: number | string
}

/** What a document shows. */
export interface DocumentView {
  /** Other people's operations since the last render, in order and rebased: apply each once. */
  operations: readonly RemoteOperation[]
  cursors: Readonly<Record<string, RemoteCursor>>
  /** Own operations that the log does not have yet. */
  pendingCount: number
}

interface Pending {
  readonly id: string
  operation: Operation
}

const RETRY_MS = 1000
const CURSOR_MS = 100
const PENDING_MAX = 1000

/**
 * One document's operations between this client and the log. The log's order is the authority: one operation is on
 * its way at a time, accepted only on top of everything that came before it, and rebased when others were faster.
 * @param update changes what is shown.
 * @param rendered the operations that the application has had.
 */
export function openDocument(
  client: Client,
  topic: string,
  update: (change: (view: DocumentView) => DocumentView) => void,
  rendered: () => readonly RemoteOperation[],
) {
  const pending: Pending[] = []
  const nonce = Math.random().toString(36).slice(2)
  let lastSeq: number | undefined
  let sending = false
  let closed = true
  let off = (): void => {}
  let count = 0
  let cursor: { position?: unknown } | null = null

  const showPending = (): void => update((view) => ({ ...view, pendingCount: pending.length }))

  async function flush(): Promise<void> {
    const next = pending[0]
    if (sending || closed || !next) return
    sending = true
    const data = { operation: next.operation, user_id: client.hello?.user, timestamp: Date.now() }
    let again = false
    try {
      const options = { expect: lastSeq, eventId: next.id }
      const { seq } = await client.topic(topic).publish('collaboration_update', data, options)
      lastSeq ??= seq
      // Its event may have come before the reply; otherwise that event goes on from here.
      again = pending[0] !== next
    } catch (error) {
      const conflict = error instanceof CommandError && error.code === 'conflict'
      // The event that won goes on from here, unless it has come already.
      if (conflict) again = (error.seq ?? 0) <= (lastSeq ?? 0)
      else setTimeout(() => void flush(), RETRY_MS)
    }
    sending = false
    if (again) void flush()
  }

  function takeOperation(event: ThroughlineEvent, seq: number): void {
    const { operation, user_id, timestamp } = event.data as RemoteOperation & { operation: Operation }
    if (event.id !== undefined && event.id === pending[0]?.id) {
      pending.shift()
      return showPending()
    }
    let remote = operation
    for (const mine of pending) {
      const rebased = transform(mine.operation, remote, false)
      remote = transform(remote, mine.operation, true)
      mine.operation = rebased
    }
    const told = { ...remote, user_id, timestamp, seq } as RemoteOperation
    // An array that was rendered has been applied; the next one holds only what came since.
    update((view) => ({ ...view, operations: view.operations === rendered() ? [told] : [...view.operations, told] }))
  }

  function tellCursor(position: unknown): void {
    const user_id = client.hello?.user
    const told = client.topic(topic).cast('cursor_moved', { user_id, position, timestamp: Date.now() }, user_id)
    told.catch(() => {}) // The next move tells it.
    const waiting: { position?: unknown } = {}
    cursor = waiting
    setTimeout(() => {
      cursor = null
      if ('position' in waiting && !closed) tellCursor(waiting.position)
    }, CURSOR_MS)
  }

  function take(event: ThroughlineEvent): void {
    const { seq, type } = event
    if (type === 'cursor_moved') {
      const moved = event.data as RemoteCursor
      if (moved.user_id === client.hello?.user) return
      update((view) => ({ ...view, cursors: { ...view.cursors, [moved.user_id]: moved } }))
    }
    if (seq === undefined || type.startsWith('presence.')) return
    lastSeq = seq
    if (type === 'collaboration_update') takeOperation(event, seq)
    void flush()
  }

  return {
    send(operation: Operation): void {
      if (pending.length >= PENDING_MAX) throw new Error('too many operations wait to be sent')
      count += 1
      pending.push({ id: `${nonce}-${count}`, operation })
      showPending()
      void flush()
    },

    /** Tells where the own cursor is, at most ten times a second, the latest place always. */
    move(position: unknown): void {
      if (cursor) cursor.position = position
      else tellCursor(position)
    },

    /** Hears the others, and sends what waits, from now on. */
    open(): void {
      closed = false
      off = client.topic(topic).onAny(take)
      void flush()
    },

    close(): void {
      closed = true
      off()
    },
  }
}
