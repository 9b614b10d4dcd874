import { CommandError, createClient } from '@throughline/client'
import { inRollout } from '@throughline/client/react'
import { FakeServer } from '@throughline/client/testing'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { connectTo, MINUTE, SECOND } from './harness.js'

let server: FakeServer
beforeEach(() => {
  server = new FakeServer()
})

describe('tokens', () => {
  it('are asked for once, whoever needs them, and never travel in an address', async () => {
    server.token = 'secret'
    server.path.ws = 'refused'
    const getToken = vi.fn(async () => 'secret')
    const { client } = connectTo(server, { getToken })
    await server.clock.advance(5 * SECOND)
    expect(client.state.transport).toBe('sse')
    expect(getToken).toHaveBeenCalledTimes(1)
    expect(getToken).toHaveBeenCalledWith({ reason: 'connect', signal: expect.any(AbortSignal) })
    expect(server.requests.map(({ url }) => url.href).join()).not.toContain('secret')
  })

  it.each(['ws', 'sse', 'poll'] as const)('are refreshed once after %s refused one', async (transport) => {
    server.token = 'fresh'
    const getToken = vi.fn(({ reason }: { reason: string }) => (reason === 'refused' ? 'fresh' : 'stale'))
    const { client } = connectTo(server, { getToken, transports: [transport] })
    await server.clock.advance(3 * SECOND)
    expect(getToken.mock.calls.map(([request]) => request.reason)).toEqual(['connect', 'refused'])
    expect(client.state.transport).toBe(transport)
  })

  it('are presented again by a command where a proxy keeps the subprotocol with them', async () => {
    server.token = 'secret'
    server.dropsBearer = true
    const { client, seqs } = connectTo(server, { getToken: () => 'secret', transports: ['ws'] })
    await server.clock.advance(3 * SECOND)
    expect(client.state).toMatchObject({ phase: 'live', retryCount: 0 })
    server.publish('user:test', 'tick')
    await server.clock.advance(SECOND)
    expect(seqs).toEqual([1])
  })

  it('are not presented twice to a gateway that answers', async () => {
    const { client } = connectTo(server, { getToken: () => 'secret' })
    await server.clock.advance(5 * SECOND)
    expect(client.state.phase).toBe('live')
    expect(server.commands.filter(({ op }) => op === 'auth')).toEqual([])
  })

  it('are told apart by cookie on polls, too: hello says whose the events are', async () => {
    let visitor = 'alice'
    server.userOf = () => visitor
    const { client } = connectTo(server, { transports: ['poll'], after: 'e1.0' })
    const heard: unknown[] = []
    client.onAny(({ data }) => heard.push([client.hello?.user, data]))
    await server.clock.advance(SECOND)
    server.publish('all', 'said', 1)
    await server.clock.advance(SECOND)
    visitor = 'bob'
    await server.clock.advance(10 * SECOND)
    server.publish('all', 'said', 2)
    await server.clock.advance(SECOND)
    expect(heard).toEqual([
      ['alice', 1],
      ['bob', 2],
    ])
  })

  it('that say nothing of their user are told apart on polls, too', async () => {
    server.userOf = (token) => `${token}`
    let token = 'alice'
    const { client } = connectTo(server, { transports: ['poll'], getToken: () => token })
    const heard: unknown[] = []
    client.onAny(({ data }) => heard.push([client.hello?.user, data]))
    await server.clock.advance(SECOND)
    server.publish('all', 'said', 1)
    await server.clock.advance(SECOND)
    token = 'bob'
    server.token = token
    await server.clock.advance(10 * SECOND)
    server.publish('all', 'said', 2)
    await server.clock.advance(SECOND)
    expect(heard).toEqual([
      ['alice', 1],
      ['bob', 2],
    ])
  })

  it('end the session when the fresh one is refused too', async () => {
    server.token = 'never'
    const { client } = connectTo(server, { getToken: () => 'wrong' })
    await server.clock.advance(MINUTE)
    expect(client.state).toMatchObject({ phase: 'closed', error: { code: 4401, fatal: true } })
    await expect(client.ready()).rejects.toBeInstanceOf(CommandError)
  })

  it('are renewed in band on WebSocket before they end', async () => {
    const getToken = vi.fn(({ reason }: { reason: string }) => reason)
    const { client } = connectTo(server, { getToken })
    await server.clock.advance(2 * SECOND)
    server.say({ events: [], expiring: { expires_at: '2026-11-20T04:30:12.000Z' } })
    await server.clock.advance(SECOND)
    expect(server.commands).toContainEqual(expect.objectContaining({ op: 'auth', token: 'expiring' }))
    expect(server.requests).toHaveLength(1)
    expect(client.state.transport).toBe('ws')
  })

  it('are tried again, with backoff, when the application cannot give one', async () => {
    let calls = 0
    const { client } = connectTo(server, {
      getToken: async () => {
        calls += 1
        if (calls < 4) throw new Error('login server is down')
        return 'token'
      },
    })
    await server.clock.advance(MINUTE)
    expect(client.state.transport).toBe('ws')
    expect(calls).toBe(4)
  })

  it('belong to the call that asked: one asked for before close() is not used after connect()', async () => {
    const answers: ((token: string) => void)[] = []
    const signals: AbortSignal[] = []
    const { client } = connectTo(server, {
      transports: ['ws'],
      getToken: ({ signal }) => {
        signals.push(signal)
        return new Promise((resolve) => answers.push(resolve))
      },
    })
    await server.clock.advance(SECOND)
    client.close()
    expect(signals[0]?.aborted).toBe(true)
    client.connect()
    await server.clock.advance(SECOND)
    expect(answers).toHaveLength(2)
    answers[0]?.('of-the-former-user')
    await server.clock.advance(SECOND)
    expect(server.offered).toEqual([])
    answers[1]?.('of-the-present-user')
    await server.clock.advance(2 * SECOND)
    expect(server.offered).toEqual(['of-the-present-user'])
    expect(client.state.phase).toBe('live')
  })

  it('are asked for again after a call that did not answer within 10 s, and the state says so', async () => {
    let calls = 0
    const signals: AbortSignal[] = []
    const { client } = connectTo(server, {
      getToken: ({ signal }) => {
        calls += 1
        signals.push(signal)
        return calls < 3 ? new Promise<string>(() => {}) : 'token'
      },
    })
    await server.clock.advance(10 * SECOND + 1)
    expect(signals[0]?.aborted).toBe(true)
    expect(client.state.error?.message).toContain('getToken')
    await server.clock.advance(30 * SECOND)
    expect(client.state.transport).toBe('ws')
    expect(calls).toBe(3)
  })

  it('that take long are not held against a transport', async () => {
    const { client } = connectTo(server, {
      getToken: () => new Promise((resolve) => server.clock.setTimeout(() => resolve('token'), 9.9 * SECOND)),
    })
    await server.clock.advance(14 * SECOND)
    expect(client.state.transport).toBe('ws')
    expect(server.requests.map(({ transport }) => transport)).not.toContain('poll')
  })

  it('may end in a line break, as texts from files and commands do', async () => {
    server.token = 'secret'
    const { client } = connectTo(server, { getToken: () => 'secret\n' })
    await server.clock.advance(2 * SECOND)
    expect(client.state.transport).toBe('ws')
  })

  it('that are refused count anew once a fresh one has worked', async () => {
    server.token = 'first'
    let current = 'stale'
    const { client } = connectTo(server, {
      getToken: ({ reason }) => {
        if (reason === 'refused') current = server.token as string
        return current
      },
    })
    await server.clock.advance(5 * SECOND)
    expect(client.state.phase).toBe('live')
    server.token = 'second'
    server.cut()
    await server.clock.advance(5 * SECOND)
    expect(client.state).toMatchObject({ phase: 'live', error: null })
  })
})

describe('a WebSocket that is refused by a status, which no client can read', () => {
  beforeEach(() => {
    server.refusesByStatus = true
  })

  it.each([[['ws']], [['ws', 'sse', 'poll']]] as const)('gets a fresh token after 401: %s', async (transports) => {
    server.token = 'fresh'
    const getToken = vi.fn(({ reason }: { reason: string }) => (reason === 'refused' ? 'fresh' : 'stale'))
    const { client } = connectTo(server, { getToken, transports })
    await server.clock.advance(5 * SECOND)
    expect(client.state.transport).toBe('ws')
    expect(getToken.mock.calls.map(([request]) => request.reason)).toEqual(['connect', 'refused'])
  })

  it('is not tried for ever after 403', async () => {
    server.path.ws = 'refused'
    server.forbids = true
    const { client } = connectTo(server, { transports: ['ws'] })
    await server.clock.advance(5 * SECOND)
    expect(client.state).toMatchObject({ phase: 'closed', error: { code: 403, fatal: true } })
  })

  it('waits for as long as the gateway asks for', async () => {
    server.busy = true
    const { client } = connectTo(server, { transports: ['ws'] })
    await server.clock.advance(1500)
    expect(server.requests.filter(({ transport }) => transport === 'ws')).toHaveLength(1)
    server.busy = false
    await server.clock.advance(3 * SECOND)
    expect(client.state.transport).toBe('ws')
  })

  it('by something on the path is tried again, and leaves one session at most', async () => {
    server.path.ws = 'refused'
    const { client } = connectTo(server, { transports: ['ws'] })
    await server.clock.advance(MINUTE)
    expect(client.state.phase).toBe('connecting')
    const asked = server.requests.filter(({ transport }) => transport === 'poll')
    expect(asked.length).toBeGreaterThan(5)
    expect(new Set(asked.map(({ url }) => url.searchParams.get('session'))).size).toBe(1)
    server.path.ws = 'open'
    await server.clock.advance(6 * SECOND)
    expect(client.state.transport).toBe('ws')
  })
})

describe('an address', () => {
  it('with ws: or wss: has every transport, too', async () => {
    server.path.ws = 'refused'
    const { client } = connectTo(server, { url: 'wss://gateway.test' })
    await server.clock.advance(2 * SECOND)
    expect(client.state.transport).toBe('sse')
    expect(server.requests.map(({ url }) => url.protocol)).toEqual(['wss:', 'https:'])
  })
})

describe('topics', () => {
  it('are added and taken away in band on WebSocket, once for all listeners', async () => {
    const { client } = connectTo(server)
    await server.clock.advance(2 * SECOND)
    const heard: unknown[] = []
    const off = [1, 2].map(() => client.room('a').on('said', ({ data }) => heard.push(data)))
    await server.clock.advance(SECOND)
    server.publish('room:a', 'said', 'hi')
    await server.clock.advance(SECOND)
    expect(heard).toEqual(['hi', 'hi'])
    for (const stop of off) stop()
    await server.clock.advance(SECOND)
    const changes = server.commands.filter(({ op }) => op !== 'ping')
    expect(changes).toMatchObject([
      { op: 'subscribe', topics: ['room:a'] },
      { op: 'unsubscribe', topics: ['room:a'] },
    ])
    expect(server.requests).toHaveLength(1)
  })

  it('all hear an event of several, and the client hears it once', async () => {
    const { client, seqs } = connectTo(server)
    const heard: string[] = []
    for (const name of ['a', 'b', 'c']) client.room(name).onAny(({ data }) => heard.push(`${name} ${data}`))
    await server.clock.advance(2 * SECOND)
    server.publish(['room:other', 'room:b', 'room:a'], 'said', 1)
    server.publish(['room:c', 'room:other'], 'said', 2)
    await server.clock.advance(SECOND)
    expect(heard.sort()).toEqual(['a 1', 'b 1', 'c 2'])
    expect(seqs).toEqual([1, 2])
  })

  it.each(['sse', 'poll'] as const)('make a new link beside the old one on %s, and lose nothing', async (transport) => {
    const { client, seqs } = connectTo(server, { transports: [transport] })
    await server.clock.advance(2 * SECOND)
    const heard: unknown[] = []
    client.topic('job:7').onAny(({ data }) => heard.push(data))
    for (let index = 0; index < 20; index += 1) {
      server.publish('user:test', 'tick', index)
      await server.clock.advance(50)
    }
    server.publish('job:7', 'progress', 50)
    await server.clock.advance(3 * SECOND)
    expect(heard).toEqual([50])
    expect(seqs).toHaveLength(21)
    expect(server.open[transport]).toBe(1)
  })
})

describe.each(['ws', 'sse', 'poll'] as const)('topics of a client on %s', (transport) => {
  it('that are wanted before it is connected are heard', async () => {
    const { client } = connectTo(server, { transports: [transport] })
    const heard: string[] = []
    client.room('a').onAny(() => heard.push('in the same turn'))
    await server.clock.advance(server.latencyMs)
    client.room('b').onAny(() => heard.push('while it connects'))
    await server.clock.advance(3 * SECOND)
    server.publish('room:a', 'said')
    server.publish('room:b', 'said')
    await server.clock.advance(SECOND)
    expect(heard).toEqual(['in the same turn', 'while it connects'])
    expect(server.open[transport]).toBe(1)
  })
})

describe('commands', () => {
  it('reject when the link is lost, as their fate is unknown', async () => {
    const { client } = connectTo(server)
    await server.clock.advance(2 * SECOND)
    server.freeze()
    const sent = client.room('a').publish('said', 'hi')
    sent.catch(() => {})
    await server.clock.advance(SECOND)
    server.cut()
    await expect(sent).rejects.toMatchObject({ code: 'unavailable' })
  })

  it('say again, with every new session, where the user is present', async () => {
    const { client } = connectTo(server)
    void client.room('a').presence('online', { role: 'editor' })
    await server.clock.advance(2 * SECOND)
    server.cut()
    await server.clock.advance(3 * SECOND)
    const presence = server.commands.filter(({ op }) => op === 'presence')
    expect(presence.length).toBeGreaterThanOrEqual(2)
    expect(presence.at(-1)).toMatchObject({ topic: 'room:a', status: 'online', info: { role: 'editor' } })
    void client.room('a').presence('offline')
    await server.clock.advance(SECOND)
    const before = server.commands.length
    server.cut()
    await server.clock.advance(3 * SECOND)
    expect(server.commands.slice(before).filter(({ op }) => op === 'presence')).toEqual([])
  })
})

describe('the client', () => {
  it('does nothing until it is used, and after that only what is asked', async () => {
    const lazy = createClient({ env: server.env })
    const manual = createClient({ env: server.env, autoConnect: false })
    manual.onAny(() => {})
    await server.clock.advance(SECOND)
    expect(server.requests).toEqual([])
    expect(lazy.state.phase).toBe('idle')
    manual.connect()
    await server.clock.advance(SECOND)
    expect(manual.state.phase).toBe('live')
  })

  it('keeps the same state object until something changes', async () => {
    const { client } = connectTo(server)
    await server.clock.advance(2 * SECOND)
    const { state } = client
    const changed = vi.fn()
    client.subscribe(changed)
    await server.clock.advance(20 * SECOND)
    expect(client.state).toBe(state)
    expect(changed).not.toHaveBeenCalled()
    expect(Object.isFrozen(state)).toBe(true)
  })

  it('gives events to for await, and stops listening when the loop ends', async () => {
    const { client } = connectTo(server)
    const read: unknown[] = []
    const reading = (async () => {
      for await (const { data } of client.events()) if (read.push(data) === 2) break
    })()
    await server.clock.advance(2 * SECOND)
    for (const data of [1, 2, 3]) server.publish('user:test', 'n', data)
    await server.clock.advance(SECOND)
    await reading
    expect(read).toEqual([1, 2])
  })

  it('does not listen for a reader that never reads', async () => {
    const { client } = connectTo(server)
    const unread = client.events()
    await server.clock.advance(2 * SECOND)
    for (let index = 0; index < 1001; index += 1) server.publish('user:test', 'n', index)
    await server.clock.advance(SECOND)
    const first = unread.next()
    server.publish('user:test', 'n', 'now')
    await server.clock.advance(SECOND)
    expect((await first).value).toMatchObject({ data: 'now' })
    await unread.return?.()
  })

  it('goes on after telemetry that throws', async () => {
    const reported = vi.spyOn(console, 'error').mockImplementation(() => {})
    const client = createClient({
      env: server.env,
      telemetry: () => {
        throw new Error('a bug')
      },
    })
    client.connect()
    await server.clock.advance(2 * SECOND)
    expect(client.state.phase).toBe('live')
    expect(reported).toHaveBeenCalled()
    reported.mockRestore()
  })

  it('goes on after a listener or a decoder that throws', async () => {
    const reported = vi.spyOn(console, 'error').mockImplementation(() => {})
    const { client, seqs } = connectTo(server, {
      decode: ({ data }) => {
        if (data === 'bad') throw new Error('cannot decode')
        return data
      },
    })
    client.on('n', () => {
      throw new Error('a bug')
    })
    await server.clock.advance(2 * SECOND)
    for (const data of ['good', 'bad', 'good']) server.publish('user:test', 'n', data)
    await server.clock.advance(SECOND)
    expect(seqs).toEqual([1, 3])
    expect(reported).toHaveBeenCalledTimes(3)
    reported.mockRestore()
  })

  it('starts without storage, and with a storage that throws', async () => {
    const broken = {
      getItem: () => {
        throw new Error('denied')
      },
      setItem: () => {
        throw new Error('full')
      },
    }
    server.path.ws = 'refused'
    const { client } = connectTo(server, { env: { storage: broken } })
    await server.clock.advance(20 * MINUTE)
    expect(client.state.transport).toBe('sse')
  })
})

describe('a rollout', () => {
  it('is stable, monotonic and near its percentage', () => {
    const users = Array.from({ length: 20_000 }, (_, index) => `user-${index}`)
    const ten = users.filter((user) => inRollout(user, 10))
    expect(ten.length / users.length).toBeCloseTo(0.1, 1.5)
    expect(ten.every((user) => inRollout(user, 50))).toBe(true)
    expect(users.some((user) => inRollout(user, 0))).toBe(false)
    expect(users.every((user) => inRollout(user, 100))).toBe(true)
    expect(users.filter((user) => inRollout(user, 10, 'other'))).not.toEqual(ten)
  })
})
