import { useEffect, useMemo, useState } from 'react'
import { type Target, useLink } from './context.js'
import type { DocumentView } from './document.js'
import { useLatest } from './events.js'
import type { Operation } from './operations.js'

const EMPTY: DocumentView = { operations: [], cursors: {}, pendingCount: 0 }

/** Shared editing of one document in the topic `room:ID`. */
export function useCollaboration(roomId: string | null | undefined, target: Target = {}) {
  const { client, transport } = useLink(target)
  const [view, update] = useState(EMPTY)
  const rendered = useLatest(view.operations)
  // Rebasing is loaded with the first document; what happens before that waits for it.
  const document = useMemo(async () => {
    const { openDocument } = await import('./document.js')
    return openDocument(client, `room:${roomId}`, update, () => rendered.current)
  }, [client, roomId, rendered])

  useEffect(() => {
    if (!roomId) return
    document.then(({ open }) => open())
    return () => {
      document.then(({ close }) => close())
      update(EMPTY)
    }
  }, [roomId, document])

  return {
    ...view,
    isConnected: transport !== null,
    sendOperation: (operation: Operation) => void document.then(({ send }) => send(operation)),
    updateCursor: (position: unknown) => void document.then(({ move }) => move(position)),
  }
}
