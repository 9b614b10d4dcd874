// @vitest-environment node
import { renderToString } from 'react-dom/server'
import { describe, expect, it } from 'vitest'

describe('on a server', () => {
  it('imports and renders without browser globals, and opens no connection', async () => {
    expect(typeof document).toBe('undefined')
    const { useHybridUpdates, useJobProgress, useStatusFeed, useCollaboration, ThroughlineProvider, usePresence } =
      await import('@throughline/client/react')
    const { ConnectionStatusIndicator, DebugPanel, RealtimeStatusPanel, ReviewerPresence } = await import(
      '@throughline/client/components'
    )
    await import('@throughline/client/query')
    function Page() {
      const { updateSource, loading } = useHybridUpdates(async () => 1, 'u')
      const { progress } = useJobProgress('1', 'token')
      useCollaboration('room')
      usePresence('room:1')
      return (
        <main>
          {`${updateSource} ${loading} ${progress}`}
          <ConnectionStatusIndicator showDetails />
          <RealtimeStatusPanel websocket={useStatusFeed({ userId: 'u' })} />
          <ReviewerPresence />
          <DebugPanel />
        </main>
      )
    }
    const html = renderToString(
      <ThroughlineProvider>
        <Page />
      </ThroughlineProvider>,
    )
    expect(html).toContain('polling true 0')
    expect(renderToString(<Page />)).toContain('polling true 0')
  })
})
