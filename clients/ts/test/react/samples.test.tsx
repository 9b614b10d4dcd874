// @vitest-environment happy-dom
/** The usage examples of the five systems, as they stand there but for the import path. */

import { cleanup, screen } from '@testing-library/react'
import { createClient } from '@throughline/client'
import ConnectionStatusIndicator, { RealtimeStatusPanel } from '@throughline/client/components'
import { useConnectionIndicator, useHybridUpdates, useJobProgress, useWebSocket } from '@throughline/client/react'
import { StrictMode, useEffect, useState } from 'react'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Page } from './harness.js'

afterEach(() => {
  cleanup()
  vi.unstubAllGlobals()
  vi.useRealTimers()
  localStorage.clear()
})

describe('the app builder', () => {
  function App() {
    const [userId] = useState(() => {
      const stored = localStorage.getItem('userId')
      if (stored) return stored
      const newId = `user_${Date.now()}_${Math.random().toString(36).substr(2, 9)}`
      localStorage.setItem('userId', newId)
      return newId
    })

    const websocket = useWebSocket({
      url: 'http://localhost:3001',
      userId,
      autoConnect: true,
    })

    return <RealtimeStatusPanel websocket={websocket} />
  }

  it('shows queue, progress, preview and notifications that clear themselves', async () => {
    const page = new Page()
    page.show(<App />)
    await page.advance(2000)
    expect(screen.getByText(/Live updates active/)).toBeTruthy()
    await page.publish('user:test', 'queue:position', { position: 2, total: 7, estimatedWaitTime: 95 })
    await page.publish('user:test', 'sync:progress', { stage: 'syncing', progress: 50, message: 'Copying' })
    await page.publish('user:test', 'preview:status', { status: 'running' })
    await page.publish('user:test', 'notification', { type: 'success', message: 'Saved' })
    await page.publish('user:test', 'error', { message: 'Port taken' })
    const text = document.body.textContent
    expect(text).toContain('Position 2 of 7, about 2 min')
    expect(text).toContain('50 % Copying')
    expect(text).toContain('Preview: running')
    expect(text).toContain('success: Saved')
    expect(text).toContain('error: Port taken')
    await page.advance(6000)
    expect(document.body.textContent).not.toContain('Saved')
    expect(document.body.textContent).toContain('Port taken')
  })
})

describe('the media pipeline', () => {
  function JobProgressDisplay({ jobId, accessToken }: { jobId: string; accessToken: string }) {
    const { progress, status, stage, message, isConnected, usingWebSocket } = useJobProgress(jobId, accessToken, {
      enableWebSocket: true,
      enablePolling: true,
      pollInterval: 2000,
    })

    return (
      <div>
        <div className="progress-bar">
          <div style={{ width: `${progress}%` }}>{progress}%</div>
        </div>
        <p>Status: {status}</p>
        <p>Stage: {stage}</p>
        <p>Message: {message}</p>
        <p>Connected: {isConnected ? '✓' : '✗'}</p>
        <p>Using: {usingWebSocket ? 'WebSocket' : 'Polling'}</p>
      </div>
    )
  }

  it('follows its own job and no other', async () => {
    const page = new Page()
    page.show(<JobProgressDisplay jobId="7" accessToken="token" />)
    await page.advance(2000)
    await page.publish('user:test', 'progress', {
      jobId: '7',
      status: 'processing',
      progress: 45,
      stage: 'inference',
      message: 'Panel 9',
    })
    await page.publish('user:test', 'progress', { jobId: '8', progress: 99 })
    const text = document.body.textContent
    expect(text).toContain('45%')
    expect(text).toContain('Status: processing')
    expect(text).toContain('Stage: inference')
    expect(text).toContain('Message: Panel 9')
    expect(text).toContain('Connected: ✓')
    expect(text).toContain('Using: WebSocket')
  })
})

describe('a job whose token comes late', () => {
  it('connects when the token is there, and again with a better one', async () => {
    vi.useFakeTimers()
    const offered: string[] = []
    vi.stubGlobal('fetch', () => new Promise(() => {}))
    vi.stubGlobal(
      'WebSocket',
      class {
        readyState = 0
        onclose: ((event: unknown) => void) | null = null
        constructor(_: string, protocols: string[]) {
          offered.push(protocols.join())
          if (protocols.includes('bearer.old')) setTimeout(() => this.onclose?.({ code: 4401 }), 10)
        }
        close() {}
      },
    )
    const { render } = await import('@testing-library/react')
    function Job({ token }: { token: string | null }) {
      useJobProgress('7', token, { url: 'http://localhost:3002', enablePolling: false })
      return null
    }
    const { rerender } = render(<Job token={null} />)
    await vi.advanceTimersByTimeAsync(2000)
    expect(offered).toEqual([])
    rerender(<Job token="old" />)
    await vi.advanceTimersByTimeAsync(2000)
    expect(offered).toEqual(['throughline.v1,bearer.old', 'throughline.v1,bearer.old'])
    rerender(<Job token="new" />)
    await vi.advanceTimersByTimeAsync(2000)
    expect(offered.at(-1)).toBe('throughline.v1,bearer.new')
  })
})

describe('the song editor', () => {
  const applied: unknown[] = []
  const applyOperation = (operation: unknown): void => void applied.push(operation)
  function Editor({ onChange }: { onChange: (operation: unknown) => void }) {
    return (
      <button type="button" onClick={() => onChange('x')}>
        edit
      </button>
    )
  }

  function CollaborativeEditor({ songId, token }: { songId: string; token: string }) {
    const { room, collaboration } = useWebSocket({
      roomId: songId,
      token,
      autoJoinRoom: true,
    })

    const handleTextChange = (_operation: unknown) => {
      collaboration.sendOperation({
        type: 'insert',
        position: 10,
        content: 'Hello, world!',
      })
    }

    useEffect(() => {
      collaboration.operations.forEach((op) => {
        applyOperation(op)
      })
    }, [collaboration.operations])

    return (
      <div>
        <ConnectionStatusIndicator />
        <p>{room.participantCount} here</p>
        <Editor onChange={handleTextChange} />
      </div>
    )
  }

  it('sends operations, and applies those of others once each', async () => {
    const page = new Page()
    page.show(<CollaborativeEditor songId="song-1" token="token" />)
    await vi.dynamicImportSettled()
    await page.advance(2000)
    await page.publish('room:song-1', 'presence.join', { user: 'ines', status: 'online', info: null, count: 1 })
    expect(screen.getByText('1 here')).toBeTruthy()
    const one = { type: 'insert', position: 0, content: 'a' }
    await page.publish('room:song-1', 'collaboration_update', { operation: one, user_id: 'ines', timestamp: 1 })
    await page.publish('room:song-1', 'collaboration_update', { operation: one, user_id: 'ines', timestamp: 2 })
    expect(applied).toMatchObject([
      { ...one, timestamp: 1 },
      { ...one, timestamp: 2 },
    ])
    screen.getByText('edit').click()
    await page.advance(1000)
    expect(page.server.commands).toContainEqual(
      expect.objectContaining({
        op: 'publish',
        topic: 'room:song-1',
        type: 'collaboration_update',
        expect: 3,
        data: expect.objectContaining({
          operation: { type: 'insert', position: 10, content: 'Hello, world!' },
          user_id: 'test',
        }),
      }),
    )
    expect(screen.getByText('Real-time')).toBeTruthy()
  })

  function App() {
    const indicator = useConnectionIndicator()

    return (
      <div>
        <header>
          <ConnectionStatusIndicator showDetails={true} />
          {indicator.isReconnecting && <div>Reconnecting... (attempt {indicator.retryCount})</div>}
        </header>
        <main>{/* Your app content */}</main>
      </div>
    )
  }

  it('shows status, latency and attempts', async () => {
    const page = new Page()
    page.show(<App />)
    await page.advance(15_000)
    expect(document.body.textContent).toContain('Real-time (via ws, 5 ms)')
    Object.assign(page.server.path, { ws: 'refused', sse: 'refused', poll: 'refused' })
    page.server.cut()
    await page.advance(3000)
    expect(document.body.textContent).toMatch(/Reconnecting\.\.\. \(attempt \d+\)/)
    expect(screen.getByRole('status').getAttribute('data-color')).toBe('red')
  })
})

describe('the analysis app', () => {
  const DataDisplay = ({ data }: { data: { queue: number } }) => <p>{data.queue} queued</p>

  function MyComponent({ userId }: { userId: string }) {
    const fetchData = async () => {
      const response = await fetch('/api/queue')
      return response.json()
    }

    const {
      data,
      loading,
      updateSource, // 'websocket' | 'polling'
      websocketStatus, // 'connected' | 'connecting' | 'disconnected'
      refresh,
    } = useHybridUpdates(fetchData, userId, {
      pollingInterval: 5000,
      websocketEnabled: true,
      fallbackDelay: 15000,
    })

    useEffect(() => {
      analytics.track('websocket_connection', { status: websocketStatus, source: updateSource, userId })
    }, [websocketStatus, updateSource, userId])

    return (
      <div>
        <div>Data Source: {updateSource}</div>
        <div>Status: {websocketStatus}</div>
        {loading && 'loading'}
        {data && <DataDisplay data={data} />}
        <button type="button" onClick={() => refresh()}>
          refresh
        </button>
      </div>
    )
  }
  const analytics = { track: vi.fn() }

  it('shows its data, where it comes from, and refreshes by hand', async () => {
    const page = new Page()
    let queue = 0
    vi.stubGlobal(
      'fetch',
      vi.fn(async () => ({ json: async () => ({ queue: ++queue }) })),
    )
    page.show(<MyComponent userId="test" />)
    await page.advance(2000)
    expect(screen.getByText('Data Source: websocket')).toBeTruthy()
    expect(screen.getByText('Status: connected')).toBeTruthy()
    const before = queue
    expect(screen.getByText(`${before} queued`)).toBeTruthy()
    screen.getByText('refresh').click()
    await page.advance(100)
    expect(screen.getByText(`${before + 1} queued`)).toBeTruthy()
    expect(analytics.track.mock.lastCall?.[1]).toEqual({ status: 'connected', source: 'websocket', userId: 'test' })
  })
})

describe('without a provider', () => {
  it('shows the state of the client that there is, and closes it with the last component', async () => {
    vi.useFakeTimers()
    vi.stubGlobal('fetch', () => new Promise(() => {}))
    const sockets: string[] = []
    let closed = 0
    vi.stubGlobal(
      'WebSocket',
      class {
        readyState = 0
        constructor(_: string, protocols: string[]) {
          sockets.push(protocols.join())
        }
        close() {
          closed += 1
        }
      },
    )
    const { render } = await import('@testing-library/react')
    function Editor({ token }: { token: string }) {
      useWebSocket({ url: 'http://localhost:3003', roomId: 'song-1', token, autoJoinRoom: true })
      return <ConnectionStatusIndicator />
    }
    const { unmount } = render(
      <StrictMode>
        <Editor token="secret" />
      </StrictMode>,
    )
    await vi.advanceTimersByTimeAsync(1000)
    expect(sockets).toEqual(['throughline.v1,bearer.secret'])
    expect(screen.getByText('Connecting')).toBeTruthy()
    expect(closed).toBe(0)
    unmount()
    await vi.advanceTimersByTimeAsync(1500)
    expect(closed).toBe(1)
  })

  it('makes one client for the page and shares it', async () => {
    vi.useFakeTimers()
    const sockets: string[] = []
    vi.stubGlobal(
      'WebSocket',
      class {
        readyState = 0
        constructor(url: string) {
          sockets.push(url)
        }
        close() {}
      },
    )
    const { render } = await import('@testing-library/react')
    function Two() {
      useWebSocket({ url: 'http://localhost:3001', userId: 'a' })
      useWebSocket({ url: 'http://localhost:3001', userId: 'a' })
      return null
    }
    render(<Two />)
    await vi.advanceTimersByTimeAsync(1000)
    expect(sockets).toHaveLength(1)
    expect(sockets[0]).toMatch(/^ws:\/\/localhost:3001\/v1\/ws\?.*user=a/)
    expect(createClient).toBeTypeOf('function')
  })
})
