import { type Client, CommandError, type ThroughlineEvent } from '@throughline/client'
import { createCaret } from './caret.js'
import { followTopic } from './follow.js'
import type { Operation } from './operations.js'
import { createPending } from './pending.js'
import { isPassing, pause, retryDelay } from './retry.js'

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
  /**
   * Why nothing is sent or received any more: operations may be missing, or one was refused. Load
   * the text anew, and pass its cursor as `snapshot`; own operations that were not sent yet are not
   * in it.
   */
  error: Error | null
}

/** The data of a `collaboration_update`. */
interface Update {
  operation: Operation
  user_id: string
  timestamp: number | string
  /**
   * The seq of the operation before this one in the sender's text; 0: none. Absent where the sender
   * cannot tell.
   */
  base?: number
}

/**
 * One document's operations between this client and the log. The log's order is the authority: one
 * operation is on its way at a time, accepted only on top of everything that came before it, and
 * rebased when others were faster.
 * @param update changes what is shown.
 * @param rendered the operations that the application has had.
 * @param snapshot the cursor of the text that the application begins with; `earliest`: the text
 * before any operation.
 */
// Its inner functions share the state of one document.
export function openDocument(
  client: Client,
  topic: string,
  update: (change: (view: DocumentView) => DocumentView) => void,
  rendered: () => readonly RemoteOperation[],
  snapshot = 'earliest',
) {
  const pending = createPending()
  const caret = createCaret(client, topic)
  const log = followTopic(client, topic, snapshot, { take, lost })
  /** The latest operation in the text. */
  let base = snapshot === 'earliest' ? 0 : undefined
  let error: Error | null = null
  let isSending = false
  let isOpen = false

  const show = (change: Partial<DocumentView>): void => {
    if (isOpen) update((view) => ({ ...view, ...change }))
  }

  function lost(reason: Error): void {
    error = reason
    show({ error })
    isOpen = false
  }

  function settled(id: string | undefined, seq: number | undefined): boolean {
    const isOwn = pending.settle(id)
    if (isOwn) {
      base = seq
      show({ pendingCount: pending.count })
    }
    return isOwn
  }

  async function flush(): Promise<void> {
    if (isSending) return
    isSending = true
    if (pending.first) await log.ready()
    for (let next = pending.first; next && isOpen; next = pending.first) {
      const expect = log.expect
      const data: Update = { operation: next.operation, user_id: `${client.hello?.user}`, timestamp: Date.now(), base }
      try {
        const options = { expect, eventId: next.id }
        const { seq } = await client.topic(topic).publish('collaboration_update', data, options)
        log.confirm(seq)
        settled(next.id, seq)
      } catch (error) {
        if (error instanceof CommandError && error.code === 'conflict') await log.catchUp(error.seq ?? 0, expect)
        else if (isPassing(error)) await pause(retryDelay(error))
        else log.fail(error)
      }
    }
    isSending = false
  }

  function takeOperation({ id, seq, data }: ThroughlineEvent): void {
    const { operation, user_id, timestamp, base: before } = (data ?? {}) as Partial<Update>
    if (!operation || seq === undefined || settled(id, seq)) return
    if (before !== undefined && base !== undefined && before !== base)
      return log.fail(new Error('an operation was made on another text'))
    base = seq
    const told = { ...pending.rebase(operation), user_id, timestamp, seq } as RemoteOperation
    // An array that was rendered has been applied; the next one holds only what came since.
    update((view) => ({ ...view, operations: view.operations === rendered() ? [told] : [...view.operations, told] }))
  }

  function take(event: ThroughlineEvent): void {
    if (event.type === 'collaboration_update') takeOperation(event)
    if (event.type !== 'cursor_moved') return
    const moved = event.data as RemoteCursor
    if (moved.user_id === client.hello?.user) return
    update((view) => ({ ...view, cursors: { ...view.cursors, [moved.user_id]: moved } }))
  }

  return {
    send(operation: Operation): void {
      pending.add(operation)
      show({ pendingCount: pending.count })
      void flush()
    },

    move: caret.move,

    /** Hears the others, and sends what waits, from now on. */
    open(): void {
      if (error) return
      isOpen = true
      caret.open()
      log.open()
      void flush()
    },

    close(): void {
      isOpen = false
      caret.close()
      log.close()
    },
  }
}
