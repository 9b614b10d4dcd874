/** What is loaded when it is needed may fail to load: after a deploy, or on a bad network. */
import type { CommandError } from '@throughline/client'
import { FakeServer } from '@throughline/client/testing'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { SECOND } from './harness.js'

let server: FakeServer
let loads = 0
let broken = false

beforeEach(() => {
  server = new FakeServer()
  loads = 0
  broken = false
  vi.resetModules()
  vi.doMock('../src/core/lazy.js', async (original) => {
    loads += 1
    if (broken) throw new TypeError('error loading dynamically imported module')
    return await original()
  })
})
afterEach(() => {
  vi.doUnmock('../src/core/lazy.js')
})

async function connected(transport: 'ws' | 'sse' | 'poll') {
  const { createClient, CommandError } = await import('@throughline/client')
  const client = createClient({ env: server.env, transports: [transport] })
  client.connect()
  for (let turn = 0; turn < 4; turn += 1) {
    await server.clock.advance(SECOND)
    await vi.dynamicImportSettled()
  }
  return { client, CommandError }
}

async function outcome(sent: Promise<unknown>): Promise<unknown> {
  let isSettled = false
  const result = sent.then(
    (ok) => ok,
    (error: unknown) => error,
  )
  void result.finally(() => {
    isSettled = true
  })
  // Loading takes real time, and none of the clock's.
  for (let turn = 0; turn < 100 && !isSettled; turn += 1) {
    await server.clock.advance(100)
    await vi.dynamicImportSettled()
  }
  expect(isSettled, 'settled within 10 s').toBe(true)
  return result
}

// The mocks stand for source files.
describe.skipIf(process.env.BUILT).each(['sse', 'poll'] as const)('commands over HTTP on %s', (transport) => {
  it('are loaded while the network works, before the first is sent', async () => {
    const { client } = await connected(transport)
    expect(loads).toBe(1)
    broken = true
    expect(await outcome(client.room('a').publish('said', 'hi'))).toMatchObject({ seq: 1 })
  })

  it('fail as unavailable when the request fails', async () => {
    const { client, CommandError } = await connected(transport)
    server.path.poll = 'refused'
    const error = await outcome(client.room('a').publish('said', 'hi'))
    expect(error).toBeInstanceOf(CommandError)
    expect((error as CommandError).code).toBe('unavailable')
  })
})

describe.skipIf(process.env.BUILT)('a client that is closed while a part of it is being loaded', () => {
  it('settles what waits for that part', async () => {
    let arrive = (): void => {}
    const arrival = new Promise<void>((resolve) => {
      arrive = resolve
    })
    vi.doMock('../src/core/lazy.js', async (original) => {
      await arrival
      return await original()
    })
    const { createClient } = await import('@throughline/client')
    const client = createClient({ env: server.env })
    const present = client.room('a').presence('online')
    await server.clock.advance(2 * SECOND)
    expect(client.state.phase).toBe('live')
    client.close()
    arrive()
    expect(await outcome(present)).toMatchObject({ name: 'CommandError', code: 'unavailable' })
  })
})

describe.skipIf(process.env.BUILT)('a client that cannot load its second part', () => {
  it('goes on over WebSocket with commands and topics; what needs the part is unavailable', async () => {
    broken = true
    const { client, CommandError } = await connected('ws')
    const said: unknown[] = []
    const { on, publish, members, presence, since } = client.room('a')
    on('said', ({ data }) => said.push(data))
    for (let turn = 0; turn < 4; turn += 1) {
      await server.clock.advance(SECOND)
      await vi.dynamicImportSettled()
    }
    expect(await outcome(publish('said', 'hi'))).toMatchObject({ seq: 1 })
    expect(said).toEqual(['hi'])
    for (const send of [members, () => presence('online'), () => since('earliest')]) {
      const error = (await outcome(send())) as CommandError
      expect(error).toBeInstanceOf(CommandError)
      expect(error.code).toBe('unavailable')
    }
  })

  it('asks for it again while the network works, before it is needed', async () => {
    broken = true
    const { createClient } = await import('@throughline/client')
    const client = createClient({ env: server.env })
    client.connect()
    await vi.dynamicImportSettled()
    broken = false
    await server.clock.advance(SECOND)
    await vi.dynamicImportSettled()
    expect(client.state.transport).toBe('ws')
    const before = loads
    expect(before).toBeGreaterThan(1)
    broken = true
    server.path.ws = 'refused'
    server.cut()
    for (let turn = 0; turn < 10; turn += 1) {
      await server.clock.advance(SECOND)
      await vi.dynamicImportSettled()
    }
    expect(client.state.transport).toBe('sse')
    expect(loads).toBe(before)
  })
})
