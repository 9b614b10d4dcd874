// @vitest-environment happy-dom

import { cleanup, screen } from '@testing-library/react'
import { useHybridUpdates } from '@throughline/client/react'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Page } from './harness.js'

afterEach(() => {
  cleanup()
  vi.useRealTimers()
})

function blocked(page: Page): void {
  Object.assign(page.server.path, { ws: 'refused', sse: 'refused', poll: 'refused' })
}

describe('useHybridUpdates', () => {
  it('fetches once per polling interval although fetchData is written inline', async () => {
    const page = new Page()
    blocked(page)
    let fetches = 0
    let renders = 0
    function Widget({ userId }: { userId: string }) {
      renders += 1
      const fetchData = async () => {
        fetches += 1
        return { fetches }
      }
      const { data, loading, updateSource, websocketStatus } = useHybridUpdates(fetchData, userId, {
        pollingInterval: 5000,
      })
      return <p>{`${loading} ${data?.fetches ?? '-'} ${updateSource} ${websocketStatus}`}</p>
    }
    page.show(<Widget userId="test" />)
    expect(screen.getByText('true - polling connecting')).toBeTruthy()
    await page.advance(500)
    expect(fetches).toBe(1)
    await page.advance(20_000)
    expect(fetches).toBe(5)
    expect(screen.getByText('false 5 polling connecting')).toBeTruthy()
    expect(renders).toBeLessThan(60)
  })

  it('stops polling while events are pushed, refetches on events, and polls again when they are not', async () => {
    const page = new Page()
    let fetches = 0
    function Widget() {
      const { updateSource, websocketStatus, transport } = useHybridUpdates(async () => ++fetches, 'test')
      return <p>{`${updateSource} ${websocketStatus} ${transport}`}</p>
    }
    page.show(<Widget />)
    await page.advance(2000)
    expect(screen.getByText('websocket connected ws')).toBeTruthy()
    const before = fetches
    await page.advance(30_000)
    expect(fetches).toBe(before)

    page.server.publish('user:test', 'a')
    page.server.publish('user:test', 'b')
    await page.advance(1000)
    expect(fetches).toBe(before + 1)

    blocked(page)
    page.server.cut()
    await page.advance(5500)
    expect(screen.getByText('polling connecting null')).toBeTruthy()
    expect(fetches).toBe(before + 2)
  })

  it('reduces events into the data without fetching', async () => {
    const page = new Page()
    const fetchData = vi.fn(async () => [0])
    function Widget() {
      const { data } = useHybridUpdates(fetchData, 'test', { reduce: (list, event) => [...list, event.data as number] })
      return <p>{JSON.stringify(data)}</p>
    }
    page.show(<Widget />)
    await page.advance(2000)
    const before = fetchData.mock.calls.length
    await page.publish('user:test', 'n', 1)
    await page.publish('user:test', 'n', 2)
    expect(screen.getByText('[0,1,2]')).toBeTruthy()
    expect(fetchData).toHaveBeenCalledTimes(before)
  })

  it.each([{ websocketEnabled: false }, { enableFeatureFlag: false }])(
    'connects to nothing with %o',
    async (config) => {
      const page = new Page({ autoConnect: false })
      let fetches = 0
      function Widget() {
        const { updateSource, websocketStatus } = useHybridUpdates(async () => ++fetches, 'test', config)
        return <p>{`${updateSource} ${websocketStatus}`}</p>
      }
      page.show(<Widget />)
      await page.advance(10_100)
      expect(screen.getByText('polling disconnected')).toBeTruthy()
      expect(fetches).toBe(3)
      expect(page.server.requests).toHaveLength(0)
    },
  )

  it('keeps the last data when a fetch fails, and says why', async () => {
    const page = new Page()
    blocked(page)
    let fail = false
    function Widget() {
      const { data, error } = useHybridUpdates(async () => {
        if (fail) throw new Error('no queue')
        return 'fine'
      }, 'test')
      return <p>{`${data} ${error instanceof Error ? error.message : error}`}</p>
    }
    page.show(<Widget />)
    await page.advance(1000)
    fail = true
    await page.advance(5000)
    expect(screen.getByText('fine no queue')).toBeTruthy()
  })

  it('refetches after a reset, when the gateway says', async () => {
    const page = new Page()
    let fetches = 0
    function Widget() {
      useHybridUpdates(async () => ++fetches, 'test')
      return null
    }
    page.show(<Widget />)
    await page.advance(15_000)
    const before = fetches
    page.server.log.restart('e2')
    page.server.cut()
    await page.advance(2500)
    expect(fetches).toBe(before + 1)
  })

  it('gives up a fetch that never settles, says so, and fetches again', async () => {
    const page = new Page()
    blocked(page)
    const signals: AbortSignal[] = []
    function Widget() {
      const { data, error, loading } = useHybridUpdates(({ signal }) => {
        signals.push(signal)
        return signals.length === 1 ? new Promise<string>(() => {}) : Promise.resolve('there')
      }, 'test')
      return <p>{`${loading} ${data} ${error instanceof Error ? error.message : ''}`}</p>
    }
    page.show(<Widget />)
    await page.advance(9900)
    expect(signals.map(({ aborted }) => aborted)).toEqual([false])
    expect(screen.getByText('true null')).toBeTruthy()
    await page.advance(100)
    expect(signals[0]?.aborted).toBe(true)
    await page.advance(100)
    expect(screen.getByText('false there')).toBeTruthy()
  })

  it('names the call that did not settle', async () => {
    const page = new Page()
    blocked(page)
    function Widget() {
      const { error } = useHybridUpdates(() => new Promise(() => {}), 'test', { pollingInterval: 60_000 })
      return <p>{error instanceof Error ? error.message : '-'}</p>
    }
    page.show(<Widget />)
    await page.advance(10_100)
    expect(screen.getByText('fetchData did not settle within 10 s')).toBeTruthy()
  })

  it('fetches once more when an event was reduced while a fetch was under way', async () => {
    const page = new Page()
    let stored = [0]
    const answers: (() => void)[] = []
    function Widget() {
      const fetchData = () => {
        const found = stored
        return new Promise<number[]>((resolve) => answers.push(() => resolve(found)))
      }
      const { data } = useHybridUpdates(fetchData, 'test', { reduce: (list, event) => [...list, event.data as number] })
      return <p>{JSON.stringify(data)}</p>
    }
    page.show(<Widget />)
    await page.advance(500)
    answers.shift()?.()
    await page.advance(500)
    // The fetch of when the connection was there: the backend has answered without what happens
    // now.
    expect(answers).toHaveLength(1)
    stored = [0, 1]
    await page.publish('user:test', 'n', 1)
    answers.shift()?.()
    await page.advance(500)
    answers.shift()?.()
    await page.advance(500)
    expect(screen.getByText('[0,1]')).toBeTruthy()
  })

  it('opens one connection under StrictMode, and closes it after the last component', async () => {
    const page = new Page()
    function Widget() {
      useHybridUpdates(async () => 1, 'test')
      return null
    }
    const { unmount } = page.show(
      <>
        <Widget />
        <Widget />
      </>,
      true,
    )
    await page.advance(5000)
    expect(page.server.requests.filter(({ transport }) => transport === 'ws')).toHaveLength(1)
    expect(page.server.open.ws).toBe(1)
    unmount()
    await page.advance(2000)
    expect(page.server.open.ws).toBe(0)
  })
})
