// @vitest-environment happy-dom

import { QueryClient, QueryClientProvider, useQuery } from '@tanstack/react-query'
import { cleanup, screen, within } from '@testing-library/react'
import { ConnectionStatusIndicator, DebugPanel, ReviewerPresence } from '@throughline/client/components'
import { useQuerySync } from '@throughline/client/query'
import { useEventState } from '@throughline/client/react'
import { useState } from 'react'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Page } from './harness.js'

afterEach(() => {
  cleanup()
  vi.useRealTimers()
})

describe('components', () => {
  it('say in words what the colour says, and follow the transport', async () => {
    const page = new Page()
    page.show(<ConnectionStatusIndicator showDetails />)
    const status = screen.getByRole('status')
    expect(status.textContent).toContain('Connecting')
    await page.advance(2000)
    expect([status.dataset.status, status.dataset.color, status.textContent]).toEqual([
      'connected',
      'green',
      '● Real-time (via ws, 5 ms)',
    ])
    Object.assign(page.server.path, { ws: 'refused', sse: 'refused' })
    page.server.cut()
    await page.advance(3000)
    expect([status.dataset.status, status.dataset.color]).toEqual(['polling', 'yellow'])
    expect(status.textContent).toContain('Polling (via poll')
    expect(within(status).getByText('●').getAttribute('aria-hidden')).toBe('true')
  })

  it('show who is here, and for how long', async () => {
    const page = new Page()
    page.show(<ReviewerPresence />)
    await vi.dynamicImportSettled()
    await page.advance(2000)
    vi.setSystemTime(page.server.clock.now())
    const join = (user: string, status: string) => ({
      user,
      status,
      info: { role: 'architect', currentFeature: 'export' },
      count: 1,
    })
    await page.publish('presence:updates', 'presence.join', join('alice', 'online'))
    await page.publish('presence:updates', 'presence.join', join('bob', 'away'))
    expect(screen.getByText('2 reviewers here')).toBeTruthy()
    expect(screen.getByText('alice').parentElement?.textContent).toContain('architect · online · export')
    await page.advance(5 * 60_000)
    expect(screen.getByText('alice').parentElement?.textContent).toMatch(/· [45] min/)
    await page.publish('presence:updates', 'presence.leave', join('bob', 'offline'))
    expect(screen.getByText('1 reviewer here')).toBeTruthy()
  })

  it('tell a developer what is going on, and a customer nothing', async () => {
    const page = new Page()
    const { unmount } = page.show(<DebugPanel extra={{ updateSource: 'websocket' }} />)
    await page.advance(2000)
    const text = document.body.textContent
    const { session = '?' } = page.client.hello ?? {}
    for (const word of ['phase', 'live', 'ws', 'user', 'test', 'session', session, 'updateSource', 'websocket'])
      expect(text).toContain(word)
    unmount()
    page.show(<DebugPanel enabled={false} />)
    expect(document.body.textContent).toBe('')
  })
})

describe('useEventState', () => {
  it('counts every event, also several between two renders', async () => {
    const page = new Page()
    function Counter() {
      return <p>{useEventState('n', (sum: number, { data }) => sum + (data as number), 0)}</p>
    }
    page.show(<Counter />)
    await page.advance(2000)
    for (const data of [1, 2, 3, 4]) page.server.publish('user:test', 'n', data)
    await page.advance(100)
    expect(screen.getByText('10')).toBeTruthy()
  })
})

describe('useQuerySync', () => {
  it('invalidates once for a burst of events, and writes each seq once with update', async () => {
    const page = new Page()
    const queries = new QueryClient()
    const queryFn = vi.fn(async () => [0])
    function List({ write }: { write: boolean }) {
      const { data } = useQuery({ queryKey: ['list'], queryFn })
      const update = (list: number[], { data }: { data: unknown }): number[] => [...list, data as number]
      useQuerySync<number[]>(['list'], write ? { update } : {})
      return <p>{JSON.stringify(data)}</p>
    }
    const show = (write: boolean) => (
      <QueryClientProvider client={queries}>
        <List write={write} />
      </QueryClientProvider>
    )
    const { unmount } = page.show(show(false))
    await page.advance(2000)
    expect(queryFn).toHaveBeenCalledTimes(1)
    for (const data of [1, 2, 3]) page.server.publish('user:test', 'n', data)
    await page.advance(1000)
    expect(queryFn).toHaveBeenCalledTimes(2)
    unmount()
    page.show(show(true))
    await page.advance(2000)
    const before = queryFn.mock.calls.length
    await page.publish('user:test', 'n', 4)
    await page.publish('user:test', 'n', 5)
    expect(screen.getByText('[0,4,5]')).toBeTruthy()
    expect(queryFn).toHaveBeenCalledTimes(before)
  })

  it.each([true, false])('does not lose an event to a fetch that began before it (update: %s)', async (write) => {
    const page = new Page()
    const queries = new QueryClient()
    let stored = [0]
    const answers: (() => void)[] = []
    const queryFn = () => {
      const found = stored
      return new Promise<number[]>((resolve) => answers.push(() => resolve(found)))
    }
    function List() {
      const { data } = useQuery({ queryKey: ['list'], queryFn })
      const update = (list: number[], { data }: { data: unknown }): number[] => [...list, data as number]
      useQuerySync<number[]>(['list'], write ? { update } : {})
      return <p>{JSON.stringify(data)}</p>
    }
    page.show(
      <QueryClientProvider client={queries}>
        <List />
      </QueryClientProvider>,
    )
    await page.advance(2000)
    expect(answers).toHaveLength(1)
    stored = [0, 1]
    await page.publish('user:test', 'n', 1)
    await page.advance(500)
    answers.shift()?.()
    await page.advance(500)
    answers.shift()?.()
    await page.advance(500)
    expect(screen.getByText('[0,1]')).toBeTruthy()
    if (!write) return
    void queries.refetchQueries({ queryKey: ['list'] })
    await page.advance(50)
    stored = [0, 1, 2]
    await page.publish('user:test', 'n', 2)
    answers.shift()?.()
    await page.advance(500)
    answers.shift()?.()
    await page.advance(500)
    expect(screen.getByText('[0,1,2]')).toBeTruthy()
  })

  it('invalidates the former query at once when the key changes before the events are told', async () => {
    const page = new Page()
    const queries = new QueryClient()
    const queryFn = vi.fn(async ({ queryKey: [, id] }: { queryKey: readonly unknown[] }) => id)
    function Item({ id }: { id: string }) {
      useQuery({ queryKey: ['item', id], queryFn, staleTime: Number.POSITIVE_INFINITY })
      useQuerySync(['item', id])
      return null
    }
    let show = (_: string): void => {}
    function App() {
      const [id, setId] = useState('a')
      show = setId
      return <Item id={id} />
    }
    page.show(
      <QueryClientProvider client={queries}>
        <App />
      </QueryClientProvider>,
    )
    await page.advance(2000)
    await page.publish('user:test', 'changed', 'a')
    show('b')
    await page.advance(1000)
    // Fetched anew already, as the component still looked at it, or at the next look.
    const fetches = queryFn.mock.calls.filter(([{ queryKey }]) => queryKey[1] === 'a').length
    expect(fetches === 2 || queries.getQueryState(['item', 'a'])?.isInvalidated).toBe(true)
  })
})
