import { type Client, CommandError, type ThroughlineEvent } from '@throughline/client'
import { useCallback, useEffect, useRef, useState } from 'react'
import { type Target, useClient, useClientState } from './context.js'
import { type Operation, transform } from './operations.js'

/** Another person's operation, rebased onto what has been done here. */
export type RemoteOperation = Operation & { user_id: string; timestamp: number | string; seq: number }

/** Where someone's cursor is; latest wins. */
export interface RemoteCursor {
  user_id: string
  position: unknown
  timestamp: number | string
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
 */
export class Document {
  private readonly pending: Pending[] = []
  private lastSeq: number | undefined
  private sending = false
  private stopped = false
  private count = 0
  private readonly nonce = Math.random().toString(36).slice(2)

  constructor(
    private readonly client: Client,
    private readonly topic: string,
    private readonly heard: (operation: RemoteOperation) => void,
    private readonly changed: (pending: number) => void,
  ) {}

  start(): () => void {
    this.stopped = false
    const off = this.client.topic(this.topic).onAny((event) => this.take(event))
    void this.flush()
    return () => {
      this.stopped = true
      off()
    }
  }

  send(operation: Operation): void {
    if (this.pending.length >= PENDING_MAX) throw new Error('too many operations are waiting to be sent')
    this.count += 1
    this.pending.push({ id: `${this.nonce}-${this.count}`, operation })
    this.changed(this.pending.length)
    void this.flush()
  }

  private take(event: ThroughlineEvent): void {
    if (event.seq === undefined || event.type.startsWith('presence.')) return
    this.lastSeq = event.seq
    if (event.type !== 'collaboration_update') return
    const { operation, user_id, timestamp } = event.data as { operation: Operation; user_id: string; timestamp: number }
    if (event.id !== undefined && event.id === this.pending[0]?.id) {
      this.pending.shift()
      this.changed(this.pending.length)
    } else {
      let remote = operation
      for (const mine of this.pending) {
        const rebased = transform(mine.operation, remote, false)
        remote = transform(remote, mine.operation, true)
        mine.operation = rebased
      }
      this.heard({ ...remote, user_id, timestamp, seq: event.seq })
    }
    void this.flush()
  }

  private async flush(): Promise<void> {
    const next = this.pending[0]
    if (this.sending || this.stopped || !next) return
    this.sending = true
    const data = { operation: next.operation, user_id: this.client.hello?.user, timestamp: Date.now() }
    try {
      const options = { expect: this.lastSeq, eventId: next.id }
      const { seq } = await this.client.topic(this.topic).publish('collaboration_update', data, options)
      this.lastSeq ??= seq
    } catch (error) {
      // A conflict resolves itself when the event that won arrives; anything else is tried again.
      const behind =
        error instanceof CommandError && error.code === 'conflict' && (error.seq ?? 0) > (this.lastSeq ?? 0)
      if (!behind) setTimeout(() => void this.flush(), RETRY_MS)
    }
    this.sending = false
  }
}

/** Shared editing of one document in the topic `room:ID`. */
export function useCollaboration(roomId: string | null | undefined, target: Target = {}) {
  const client = useClient(target)
  const { transport } = useClientState(client)
  const [operations, setOperations] = useState<readonly RemoteOperation[]>([])
  const [cursors, setCursors] = useState<Readonly<Record<string, RemoteCursor>>>({})
  const [pending, setPending] = useState(0)
  const document = useRef<Document | null>(null)
  const committed = useRef<readonly RemoteOperation[]>(operations)
  useEffect(() => {
    committed.current = operations
  }, [operations])

  useEffect(() => {
    if (!roomId) return
    const topic = `room:${roomId}`
    const add = (operation: RemoteOperation): void => {
      // An array that was rendered has been applied; the next one holds only what came since.
      setOperations((list) => (list === committed.current ? [operation] : [...list, operation]))
    }
    const current = new Document(client, topic, add, setPending)
    document.current = current
    const stop = current.start()
    const off = client.topic(topic).on('cursor_moved', ({ data }) => {
      const cursor = data as RemoteCursor
      if (cursor.user_id !== client.hello?.user) setCursors((all) => ({ ...all, [cursor.user_id]: cursor }))
    })
    return () => {
      off()
      stop()
      document.current = null
    }
  }, [client, roomId])

  const cursor = useRef<{ position: unknown; timer?: ReturnType<typeof setTimeout> } | null>(null)
  const updateCursor = useCallback(
    (position: unknown) => {
      if (!roomId) return
      if (cursor.current) {
        cursor.current.position = position
        return
      }
      const tell = (position: unknown): void => {
        const user_id = client.hello?.user
        const told = client.room(roomId).cast('cursor_moved', { user_id, position, timestamp: Date.now() }, user_id)
        told.catch(() => {}) // The next move tells it.
        const state: { position: unknown } = { position: undefined }
        cursor.current = state
        setTimeout(() => {
          cursor.current = null
          if (state.position !== undefined) tell(state.position)
        }, CURSOR_MS)
      }
      tell(position)
    },
    [client, roomId],
  )

  return {
    /** Other people's operations since the last render, in order and rebased: apply each once. */
    operations,
    cursors,
    /** Own operations that the log does not have yet. */
    pendingCount: pending,
    isConnected: transport !== null,
    sendOperation: useCallback((operation: Operation) => document.current?.send(operation), []),
    updateCursor,
  }
}
