/** Requests that are held, counted over all pages of an origin that do not share a connection. */
import { FakeServer } from '@throughline/client/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { SECOND } from './harness.js'
import { Origin, Tab } from './origin.js'

let server: FakeServer
let origin: Origin
beforeEach(() => {
  server = new FakeServer()
  origin = new Origin()
  server.path.ws = 'refused'
})

async function open(count: number, options: object = {}): Promise<Tab[]> {
  const tabs = Array.from({ length: count }, () => new Tab(server, origin, { share: 'none', ...options }))
  await server.clock.advance(10 * SECOND)
  return tabs
}

const held = (): number => server.open.sse + server.open.poll

describe('eight tabs without WebSocket', () => {
  it('hold four requests, and all of them are told within some seconds', async () => {
    const tabs = await open(8)
    for (let event = 1; event <= 5; event += 1) {
      server.publish('user:test', 'tick')
      await server.clock.advance(6 * SECOND)
      for (const { seqs } of tabs) expect(seqs.at(-1)).toBe(event)
      expect(held()).toBeLessThanOrEqual(4)
    }
    expect(tabs.map(({ client }) => client.state.transport).sort()).toEqual([
      ...Array(4).fill('poll'),
      ...Array(4).fill('sse'),
    ])
  })

  it('take the place of one that is closed or gone', async () => {
    const tabs = await open(5)
    const last = tabs[4] as Tab
    expect(last.client.state.transport).toBe('poll')
    expect(held()).toBe(4)
    tabs[0]?.client.close()
    await server.clock.advance(6 * SECOND)
    server.publish('user:test', 'tick')
    await server.clock.advance(200)
    expect(last.seqs).toEqual([1])
    tabs[1]?.crash()
    await open(1)
    expect(held()).toBe(4)
  })

  it('do not hold it against SSE, here or for the next page', async () => {
    const tabs = await open(5)
    await server.clock.advance(10 * 60 * SECOND)
    expect([...server.storage.items.values()].join()).not.toContain('"sse"')
    for (const { client } of tabs.slice(0, 4)) client.close()
    await server.clock.advance(31 * 60 * SECOND)
    expect(tabs[4]?.client.state.transport).toBe('sse')
  })

  it('hold as many as they like where requests share a connection, or nothing counts', async () => {
    await open(6, { env: { multiplexes: () => true } })
    expect(held()).toBe(6)
    await open(6, { env: { locks: undefined } })
    expect(held()).toBe(12)
  })

  it('are live where SSE is all that they may use', async () => {
    const tabs = await open(6, { transports: ['sse'] })
    expect(tabs.map(({ client }) => client.state.phase)).toEqual(Array(6).fill('live'))
  })

  it('leave the places alone while WebSocket works', async () => {
    server.path.ws = 'open'
    await open(6)
    server.path.ws = 'refused'
    const tabs = await open(1)
    expect(tabs[0]?.client.state.transport).toBe('sse')
  })
})
