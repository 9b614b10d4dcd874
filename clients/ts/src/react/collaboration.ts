import { CommandError } from '@throughline/client'
import { useEffect, useMemo } from 'react'
import { type Target, useLink } from './context.js'
import type { DocumentView } from './document.js'
import { useLatest, useStateOf } from './events.js'
import type { Operation } from './operations.js'

/** Options of {@link useCollaboration}. */
export interface CollaborationOptions extends Target {
  /**
   * The cursor of the text that the application begins with, as a publish or `/v1/history` gave it.
   * Default: `earliest`, the text from before the first operation: every retained operation
   * follows.
   */
  snapshot?: string
}

const EMPTY: DocumentView = { operations: [], cursors: {}, pendingCount: 0, error: null }

/** Shared editing of one document in the topic `room:ID`. */
export function useCollaboration(
  roomId: string | null | undefined,
  { snapshot, ...target }: CollaborationOptions = {},
) {
  const { client, transport } = useLink(target)
  const [view, update] = useStateOf(EMPTY, [client, roomId, snapshot])
  const rendered = useLatest(view.operations)
  // Rebasing is loaded with the first document; what happens before that waits for it.
  const document = useMemo(
    () =>
      roomId
        ? import('./document.js').then(
            ({ openDocument }) => openDocument(client, `room:${roomId}`, update, () => rendered.current, snapshot),
            (error) => {
              throw new CommandError({ code: 'unavailable', message: `${error}` })
            },
          )
        : null,
    [client, roomId, snapshot, update, rendered],
  )

  useEffect(() => {
    document?.then(
      ({ open }) => open(),
      (error) => update({ ...EMPTY, error }),
    )
    return () => {
      document?.then(
        ({ close }) => close(),
        () => {},
      )
    }
  }, [document, update])

  const opened = (): NonNullable<typeof document> => document ?? Promise.reject(new Error('there is no room'))
  return {
    ...view,
    isConnected: transport !== null,
    /** Rejects without a room, and when too many operations wait to be sent. */
    sendOperation: async (operation: Operation): Promise<void> => (await opened()).send(operation),
    updateCursor: async (position: unknown): Promise<void> => (await opened()).move(position),
  }
}
