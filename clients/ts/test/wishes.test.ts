/**
 * What the application wants of topics and presence, and what the gateway has been told and has
 * agreed to.
 */
import { FakeServer } from '@throughline/client/testing'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { connectTo, MINUTE, SECOND } from './harness.js'

let server: FakeServer
beforeEach(() => {
  server = new FakeServer()
})

async function pass(ms: number): Promise<void> {
  // What is loaded with the first topic takes a turn of its own.
  for (let turn = 0; turn < 3; turn += 1) {
    await server.clock.advance(0)
    await vi.dynamicImportSettled()
  }
  await server.clock.advance(ms)
}

const ops = (op: string) => server.commands.filter((command) => command.op === op)

describe('topics', () => {
  it('that a list scrolls past cost what the gateway allows, and the last one is heard', async () => {
    const { client } = connectTo(server, { transports: ['ws'] })
    await pass(2 * SECOND)
    server.rules.limit(60, 10)
    const heard: unknown[] = []
    for (let index = 0; index < 40; index += 1) {
      const off = client.room(`${index}`).onAny(({ data }) => heard.push(data))
      await pass(75)
      if (index < 39) off()
    }
    await pass(20 * SECOND)
    expect(server.subscriptions).toEqual([['user:test', 'all', 'room:39']])
    server.publish('room:39', 'said', 'hi')
    await pass(SECOND)
    expect(heard).toEqual(['hi'])
    expect(client.state).toMatchObject({ phase: 'live', error: null })
  })

  it('that come and go in one turn are one command, or none', async () => {
    const { client } = connectTo(server, { transports: ['ws'] })
    await pass(2 * SECOND)
    for (let index = 0; index < 20; index += 1) client.room(`${index}`).subscribe()
    client.room('x').subscribe()()
    await pass(SECOND)
    expect(ops('subscribe')).toHaveLength(1)
    expect(ops('unsubscribe')).toHaveLength(0)
    expect(server.subscriptions[0]).toHaveLength(22)
  })

  it('are asked for again when the command had no reply', async () => {
    const { client } = connectTo(server, { transports: ['ws'] })
    await pass(2 * SECOND)
    server.deaf = true
    client.room('a').subscribe()
    await pass(SECOND)
    server.deaf = false
    await pass(15 * SECOND)
    expect(server.subscriptions).toEqual([['user:test', 'all', 'room:a']])
  })

  it.each(['sse', 'poll'] as const)(
    'that change all the time do not keep a link on %s from opening',
    async (transport) => {
      const { client, seqs } = connectTo(server, { transports: [transport] })
      await pass(2 * SECOND)
      server.latencyMs = 100
      const before = server.requests.length
      let off = (): void => {}
      for (let index = 0; index < 100; index += 1) {
        off()
        off = client.room(`${index}`).subscribe()
        server.publish('user:test', 'tick')
        await pass(75)
      }
      await pass(5 * SECOND)
      server.publish('room:99', 'said', 'hi')
      await pass(2 * SECOND)
      expect(seqs).toHaveLength(101)
      if (transport === 'sse') expect(server.requests.length - before).toBeLessThan(30)
      expect(server.links).toBe(1)
    },
  )

  it('of every session are not taken away from it', async () => {
    const { client } = connectTo(server, { transports: ['ws'] })
    await pass(2 * SECOND)
    const off = client.topic('all').onAny(() => {})
    await pass(SECOND)
    off()
    await pass(SECOND)
    expect(ops('unsubscribe')).toEqual([])
    expect(client.state.error).toBe(null)
  })
})

describe('topics that the gateway refuses', () => {
  it.each(['ws', 'sse'] as const)(
    'leave the rest of the session as it is, and are told where they are wanted: %s',
    async (transport) => {
      server.rules.forbidden.add('room:b')
      const { client } = connectTo(server, { transports: [transport] })
      const heard: unknown[] = []
      const refused: unknown[] = []
      client.room('a').onAny(({ data }) => heard.push(data))
      client.room('b').onAny(({ data }) => heard.push(data))
      client.room('a').onRefused((refusal) => refused.push(refusal))
      client.room('b').onRefused((refusal) => refused.push(refusal))
      await pass(2 * SECOND)
      server.publish('room:a', 'said', 'hi')
      await pass(SECOND)
      expect(client.state.phase).toBe('live')
      expect(heard).toEqual(['hi'])
      expect(refused).toEqual([{ topic: 'room:b', code: 'forbidden' }])
      // It is not asked for again and again.
      const before = server.commands.length
      await pass(MINUTE)
      expect(server.commands.slice(before).filter(({ op }) => op !== 'ping')).toEqual([])
    },
  )

  it('are told where a poll that was under way has no hello', async () => {
    const { client } = connectTo(server, { transports: ['poll'] })
    await pass(2 * SECOND)
    server.rules.forbidden.add('room:b')
    const refused: unknown[] = []
    for (const id of ['a', 'b']) {
      client.room(id).subscribe()
      client.room(id).onRefused((refusal) => refused.push(refusal))
    }
    await pass(2 * SECOND)
    expect(refused).toEqual([{ topic: 'room:b', code: 'forbidden' }])
    await pass(MINUTE)
    expect(refused).toHaveLength(1)
  })

  it('stay refused when the session begins anew in place, which does not say so again', async () => {
    server.rules.forbidden.add('room:b')
    const { client } = connectTo(server, { transports: ['ws'] })
    const refused: unknown[] = []
    client.room('b').onRefused((refusal) => refused.push(refusal))
    client.room('b').subscribe()
    await pass(2 * SECOND)
    const { hello } = client
    server.say({ events: [], hello: { ...hello, refused: undefined } as never })
    await pass(SECOND)
    server.cut()
    await pass(3 * SECOND)
    expect(refused).toHaveLength(1)
  })

  it('are told once, however often the client reconnects, and told to a listener that comes later', async () => {
    server.rules.forbidden.add('room:b')
    const { client } = connectTo(server, { transports: ['ws'] })
    const refused: unknown[] = []
    client.room('b').subscribe()
    client.room('b').onRefused((refusal) => refused.push(refusal))
    await pass(2 * SECOND)
    server.cut()
    await pass(3 * SECOND)
    expect(refused).toHaveLength(1)
    client.room('b').onRefused((refusal) => refused.push(refusal))
    await pass(0)
    expect(refused).toHaveLength(2)
  })

  it('in band do not take those with them that are allowed', async () => {
    const { client } = connectTo(server, { transports: ['ws'] })
    await pass(2 * SECOND)
    for (const index of [3, 7]) server.rules.forbidden.add(`room:${index}`)
    const refused: string[] = []
    for (let index = 0; index < 10; index += 1) {
      client.room(`${index}`).subscribe()
      client.room(`${index}`).onRefused(({ topic }) => refused.push(topic))
    }
    await pass(2 * SECOND)
    expect(server.subscriptions[0]?.slice(2).sort()).toEqual([0, 1, 2, 4, 5, 6, 8, 9].map((index) => `room:${index}`))
    expect(refused.sort()).toEqual(['room:3', 'room:7'])
    expect(client.state.phase).toBe('live')
  })

  it('for being too many come in once there is room', async () => {
    server.rules.maxTopics = 4
    const { client } = connectTo(server, { transports: ['ws'] })
    await pass(2 * SECOND)
    const offs = ['a', 'b', 'c'].map((id) => client.room(id).subscribe())
    await pass(2 * SECOND)
    expect(server.subscriptions).toEqual([['user:test', 'all', 'room:a', 'room:b']])
    offs[0]?.()
    await pass(2 * SECOND)
    expect(server.subscriptions).toEqual([['user:test', 'all', 'room:b', 'room:c']])
  })

  it('are asked for again with a renewed token, which may allow more or less', async () => {
    server.rules.forbidden.add('room:b')
    const { client } = connectTo(server, { transports: ['ws'], getToken: () => 'token' })
    const refused: string[] = []
    for (const id of ['a', 'b']) {
      client.room(id).subscribe()
      client.room(id).onRefused(({ topic }) => refused.push(topic))
    }
    await pass(2 * SECOND)
    server.rules.forbidden.delete('room:b')
    server.rules.forbidden.add('room:a')
    server.withdraw('room:a')
    server.say({ events: [], expiring: { expires_at: '2026-11-20T04:30:12.000Z' } })
    await pass(3 * SECOND)
    expect(server.subscriptions).toEqual([['user:test', 'all', 'room:b']])
    expect(refused).toEqual(['room:b', 'room:a'])
  })
})

describe('presence', () => {
  it('that was refused for being too often is told when the gateway allows it', async () => {
    const { client } = connectTo(server, { transports: ['ws'] })
    await pass(2 * SECOND)
    server.rules.limit(60, 2)
    const told = ['online', 'away', 'online', 'away', 'online', 'away'].map((status) => {
      const sent = client.room('a').presence(status as 'online')
      return pass(50).then(() => sent)
    })
    await Promise.all([Promise.all(told), pass(20 * SECOND)])
    expect(ops('presence').at(-1)).toMatchObject({ topic: 'room:a', status: 'away' })
    expect(server.rules.members.get('room:a')).toEqual('away')
  })

  it.each(['sse', 'poll'] as const)('is told on %s, too', async (transport) => {
    const { client } = connectTo(server, { transports: [transport] })
    await pass(2 * SECOND)
    void client.room('a').presence('online')
    await pass(SECOND)
    expect(server.rules.members.get('room:a')).toBe('online')
    void client.room('a').presence('offline')
    await pass(SECOND)
    expect(server.rules.members.has('room:a')).toBe(false)
  })

  it('outlives the end of the subscription to its topic', async () => {
    const { client } = connectTo(server, { transports: ['ws'] })
    const off = client.room('a').subscribe()
    void client.room('a').presence('online')
    await pass(2 * SECOND)
    off()
    await pass(SECOND)
    expect(server.rules.members.get('room:a')).toBe('online')
  })

  it('that is refused fails with the reason, and is not told again', async () => {
    server.rules.forbidden.add('room:a')
    const { client } = connectTo(server, { transports: ['ws'] })
    await pass(2 * SECOND)
    const sent = client.room('a').presence('online')
    sent.catch(() => {})
    await pass(SECOND)
    await expect(sent).rejects.toMatchObject({ code: 'forbidden' })
    const before = ops('presence').length
    await pass(MINUTE)
    expect(ops('presence')).toHaveLength(before)
  })
})
