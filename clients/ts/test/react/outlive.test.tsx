// @vitest-environment happy-dom
/** Nothing in a hook outlives what it is about: the user, the topic, the client. */

import { act, cleanup, render, screen } from '@testing-library/react'
import { ConnectionStatusIndicator } from '@throughline/client/components'
import {
  ThroughlineProvider,
  useClient,
  useEvent,
  useEventState,
  useHybridUpdates,
  useJobProgress,
  useStatusFeed,
} from '@throughline/client/react'
import { FakeServer } from '@throughline/client/testing'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Page } from './harness.js'

afterEach(() => {
  cleanup()
  vi.unstubAllGlobals()
  vi.useRealTimers()
})

/** A page without a provider; what the clients open reaches a server in memory. */
function openPage() {
  vi.useFakeTimers()
  const server = new FakeServer()
  vi.stubGlobal('WebSocket', server.env.WebSocket)
  vi.stubGlobal('fetch', server.env.fetch)
  const advance = (ms: number): Promise<void> =>
    act(async () => {
      for (let left = ms; left > 0; left -= 50) {
        await vi.advanceTimersByTimeAsync(50)
        await server.clock.advance(50)
      }
    })
  return { server, advance }
}

const jwt = (sub: string, more = '', iss = 'login'): string =>
  `h.${btoa(JSON.stringify({ sub, more, iss })).replaceAll('=', '')}.s`

describe('when the user changes', () => {
  it('useHybridUpdates fetches for the second user once the connection is there, as for the first', async () => {
    const { advance } = openPage()
    const fetches: Record<string, number> = { alice: 0, bob: 0 }
    function Widget({ user }: { user: string }) {
      const { data, loading } = useHybridUpdates(async () => `${user} ${++(fetches[user] as number)}`, user)
      return <p>{loading ? `${user}: …` : `${user}: ${data}`}</p>
    }
    const { rerender } = render(<Widget user="alice" />)
    await advance(3000)
    const alice = fetches.alice
    rerender(<Widget user="bob" />)
    // Never the one user's data under the other user's name.
    expect(document.body.textContent).toBe('bob: …')
    await advance(3000)
    expect(alice).toBe(2)
    expect(fetches).toEqual({ alice: 2, bob: 2 })
    rerender(<Widget user="alice" />)
    await advance(3000)
    expect(fetches.alice).toBe(4)
  })

  it('useHybridUpdates drops what a fetch for the former brings later', async () => {
    const { advance } = openPage()
    const answers: ((data: string) => void)[] = []
    function Widget({ user }: { user: string }) {
      const { data } = useHybridUpdates(() => new Promise<string>((resolve) => answers.push(resolve)), user)
      return <p>{`${data}`}</p>
    }
    const { rerender } = render(<Widget user="alice" />)
    rerender(<Widget user="bob" />)
    rerender(<Widget user="alice" />)
    answers[2]?.('new')
    await advance(50)
    answers[0]?.('old')
    answers[1]?.('of bob')
    await advance(50)
    expect(document.body.textContent).toBe('new')
  })

  it('a component that names no user goes with the one of now', async () => {
    const { server, advance } = openPage()
    const heard: unknown[] = []
    function Listener() {
      useEvent('note', ({ data }) => heard.push(data))
      return <ConnectionStatusIndicator />
    }
    function App({ user }: { user: string }) {
      useStatusFeed({ userId: user })
      return <Listener />
    }
    const { rerender } = render(<App user="carol" />)
    await advance(2000)
    rerender(<App user="dave" />)
    await advance(3000)
    expect(server.open.ws).toBe(1)
    server.publish('user:test', 'note', 1)
    await advance(100)
    expect(heard).toEqual([1])
    expect(screen.getByRole('status').dataset.status).toBe('connected')
  })

  it('a token of another user is another client; a renewed one is the same', async () => {
    const { server, advance } = openPage()
    const clients = new Set<unknown>()
    function Job({ token }: { token: string }) {
      useJobProgress('7', token)
      clients.add(useClient({ token, transports: ['ws', 'sse', 'poll'] }))
      return null
    }
    const { rerender } = render(<Job token={jwt('erin', 'first')} />)
    await advance(2000)
    rerender(<Job token={jwt('erin', 'second')} />)
    await advance(2000)
    expect(clients.size).toBe(1)
    rerender(<Job token={jwt('frank')} />)
    await advance(3000)
    expect(clients.size).toBe(2)
    expect(server.open.ws).toBe(1)
  })

  it.each([
    ['tokens that say nothing', 'opaque-of-ivan', 'opaque-of-judy'],
    ['subjects of two issuers', jwt('ivan', '', 'one'), jwt('ivan', '', 'two')],
  ])('%s are other users: each has a client of its own', async (_, first, second) => {
    const { server, advance } = openPage()
    const clients = new Map<string, unknown>()
    function Job({ token }: { token: string }) {
      useJobProgress('7', token)
      clients.set(token, useClient({ token, transports: ['ws', 'sse', 'poll'] }))
      return null
    }
    const { rerender } = render(<Job token={first} />)
    await advance(2000)
    rerender(<Job token={second} />)
    await advance(3000)
    expect(new Set(clients.values()).size).toBe(2)
    expect([...new Set(server.offered)]).toEqual([first, second])
    expect(server.open.ws).toBe(1)
  })

  it('a page keeps no more than 32 clients, however many tokens it has had', async () => {
    const { advance } = openPage()
    let client: unknown
    function Job({ token }: { token: string }) {
      client = useClient({ token }, false)
      return null
    }
    const { rerender } = render(<Job token="opaque-0" />)
    const clientOf = (index: number): unknown => {
      rerender(<Job token={`opaque-${index}`} />)
      return client
    }
    const clients = Array.from({ length: 33 }, (_, index) => clientOf(index))
    expect(clientOf(1)).toBe(clients[1])
    expect(clientOf(0)).not.toBe(clients[0])
    await advance(100)
  })

  it('a provider whose user is another has another client', async () => {
    const { server, advance } = openPage()
    const App = ({ user }: { user: string }) => (
      <ThroughlineProvider user={user}>
        <ConnectionStatusIndicator />
      </ThroughlineProvider>
    )
    const { rerender } = render(<App user="grace" />)
    await advance(2000)
    rerender(<App user="heidi" />)
    await advance(3000)
    const users = server.requests.map(({ url }) => url.searchParams.get('user'))
    expect([...new Set(users)]).toEqual(['grace', 'heidi'])
    expect(server.open.ws).toBe(1)
  })
})

it('state made of events is never shown for another topic', async () => {
  const page = new Page()
  const shown: string[] = []
  function Sum({ room }: { room: string }) {
    const sum = useEventState('n', (sum: number, { data }) => sum + (data as number), 0, `room:${room}`)
    shown.push(`${room} ${sum}`)
    return null
  }
  const { rerender } = page.show(<Sum room="a" />)
  await page.advance(2000)
  await page.publish('room:a', 'n', 5)
  rerender(
    <ThroughlineProvider client={page.client}>
      <Sum room="b" />
    </ThroughlineProvider>,
  )
  expect(shown).toContain('a 5')
  expect(shown).not.toContain('b 5')
})
