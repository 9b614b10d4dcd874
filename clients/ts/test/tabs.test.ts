import type { ClientOptions, Env } from '@throughline/client'
import { FakeServer } from '@throughline/client/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { SECOND, upTo } from './harness.js'
import { type Browser, holderOf, loaded, Origin, Tab, tokenOf } from './origin.js'

let server: FakeServer
let origin: Origin
beforeEach(() => {
  server = new FakeServer()
  server.userOf = (token) => holderOf(token)
  origin = new Origin()
})

async function tab(options: ClientOptions = {}): Promise<Tab> {
  const opened = new Tab(server, origin, options)
  await loaded(server)
  await server.clock.advance(2 * SECOND)
  return opened
}

const as = (user: string, claims?: object): ClientOptions => ({ getToken: () => tokenOf(user, claims) })
const live = (): number => server.open.ws + server.open.sse
const commands = (op: string) => server.commands.filter((command) => command.op === op)

describe('tabs that share', () => {
  it('open one connection, and all of them hear everything once', async () => {
    const tabs = [await tab(), await tab(), await tab()]
    expect(live()).toBe(1)
    for (let index = 0; index < 5; index += 1) {
      server.publish('user:test', 'tick', index)
      await server.clock.advance(300)
    }
    for (const { seqs, client } of tabs) {
      expect(seqs).toEqual(upTo(5))
      expect(client.state).toMatchObject({ phase: 'live', transport: 'ws', isRealtime: true })
      expect(client.hello?.user).toBe('test')
    }
  })

  it('hand an event of several topics to each tab by the topics that it wants', async () => {
    const [leader, of_a, of_b, of_both] = [await tab(), await tab(), await tab(), await tab()]
    const heard: string[][] = [[], [], [], []]
    const listen = (at: number, { client }: Tab, room: string): void => {
      client.room(room).onAny((event) => heard[at]?.push(`${room}${event.data} ${event.topic} of ${event.topics}`))
    }
    listen(0, leader, 'a')
    listen(1, of_a, 'a')
    listen(2, of_b, 'b')
    listen(3, of_both, 'a')
    listen(3, of_both, 'b')
    await server.clock.advance(2 * SECOND)
    server.publish(['room:b', 'room:other', 'room:a'], 'said', 1)
    server.publish(['room:b', 'room:other'], 'said', 2)
    await server.clock.advance(SECOND)
    const alone = 'a1 room:a of undefined'
    const of_b_alone = ['b1 room:b of undefined', 'b2 room:b of undefined']
    expect(heard.slice(0, 3)).toEqual([[alone], [alone], of_b_alone])
    const both = 'room:a of room:a,room:b'
    expect(heard[3]).toEqual([`a1 ${both}`, `b1 ${both}`, 'b2 room:b of undefined'])
  })

  it('go on without a gap when the tab that leads is closed', async () => {
    const [first, second, third] = [await tab(), await tab(), await tab()]
    server.publish('user:test', 'tick')
    await server.clock.advance(SECOND)
    first.client.close()
    server.publish('user:test', 'between')
    await server.clock.advance(2 * SECOND)
    server.publish('user:test', 'after')
    await server.clock.advance(SECOND)
    expect(second.seqs).toEqual([1, 2, 3])
    expect(third.seqs).toEqual([1, 2, 3])
    expect(first.seqs).toEqual([1])
    expect(server.open.ws).toBe(1)
  })

  it('lose nothing of what other tabs want when the tab that leads dies', async () => {
    const [first, , third] = [await tab(), await tab(), await tab()]
    const heard: unknown[] = []
    third.client.room('a').onAny(({ data }) => heard.push(data))
    await server.clock.advance(2 * SECOND)
    first.crash()
    server.publish('room:a', 'said', 'between')
    await server.clock.advance(2 * SECOND)
    server.publish('room:a', 'said', 'after')
    await server.clock.advance(SECOND)
    expect(heard).toEqual(['between', 'after'])
    expect(live()).toBe(1)
  })

  it('say again where their users are when another tab leads', async () => {
    const [first, , third] = [await tab(), await tab(), await tab()]
    void third.client.room('a').presence('online', { role: 'editor' })
    await server.clock.advance(2 * SECOND)
    first.client.close()
    server.commands.length = 0
    await server.clock.advance(3 * SECOND)
    expect(server.commands).toContainEqual(
      expect.objectContaining({ op: 'presence', topic: 'room:a', status: 'online', info: { role: 'editor' } }),
    )
  })

  it('send commands through the tab that leads, and hear only what they subscribe to', async () => {
    const [first, second] = [await tab(), await tab()]
    const [heard, elsewhere]: unknown[][] = [[], []]
    second.client.room('a').onAny(({ data }) => heard?.push(data))
    first.client.onAny(({ data }) => elsewhere?.push(data))
    await server.clock.advance(2 * SECOND)
    const sent = second.client.room('a').publish('said', 'hi')
    await server.clock.advance(SECOND)
    expect(await sent).toMatchObject({ seq: 1 })
    expect(heard).toEqual(['hi'])
    expect(elsewhere).toEqual([])
    expect(server.open.ws).toBe(1)
    expect(first.client.state.transport).toBe('ws')
  })

  it('connect by themselves when they are looked at and hear nothing', async () => {
    await tab()
    const deaf: Partial<Env> = { channel: () => ({ onmessage: null, postMessage() {}, close() {} }) }
    const { client, seqs } = await tab({ env: deaf })
    expect(server.open.ws).toBe(1)
    await server.clock.advance(3 * SECOND)
    expect(client.state.transport).toBe('ws')
    expect(server.open.ws).toBe(2)
    server.publish('user:test', 'tick')
    await server.clock.advance(SECOND)
    expect(seqs).toEqual([1])
  })

  it('have a connection each where there are no locks', async () => {
    await tab({ env: { locks: undefined } })
    await tab({ env: { locks: undefined } })
    expect(server.open.ws).toBe(2)
  })

  it('hear of a reset once each, and only of what they want', async () => {
    const [first, second] = [await tab(), await tab()]
    second.client.room('a').onAny(() => {})
    await server.clock.advance(2 * SECOND)
    for (let index = 0; index < 3; index += 1) server.publish('room:a', 'said')
    await server.clock.advance(SECOND)
    server.cut()
    server.log.restart('e2')
    await server.clock.advance(3 * SECOND)
    expect(first.resets.map(({ topics }) => topics)).toEqual([['user:test', 'all']])
    expect(second.resets.map(({ topics }) => topics)).toEqual([['user:test', 'all', 'room:a']])
  })

  it('start one session although they are closed and opened while their part is loaded', async () => {
    const { client } = new Tab(server, origin)
    client.close()
    client.connect()
    client.close()
    client.connect()
    await loaded(server)
    await server.clock.advance(2 * SECOND)
    expect([...origin.channels]).toHaveLength(1)
    expect(live()).toBe(1)
  })
})

describe('tabs of different users', () => {
  it('are handed their own events alone, and publish as themselves', async () => {
    const [alice, bob] = [await tab(as('alice')), await tab(as('bob'))]
    server.publish('user:alice', 'secret', 'of alice')
    server.publish('user:bob', 'secret', 'of bob')
    await server.clock.advance(SECOND)
    expect(alice.events.map(({ data }) => data)).toEqual(['of alice'])
    expect(bob.events.map(({ data }) => data)).toEqual(['of bob'])
    expect([alice.client.hello?.user, bob.client.hello?.user]).toEqual(['alice', 'bob'])
    expect(live()).toBe(2)
  })

  it('part when one logs in as another, whichever of them leads', async () => {
    let who = 'alice'
    const [first, second] = [await tab({ getToken: () => tokenOf(who) }), await tab(as('alice'))]
    expect(live()).toBe(1)
    who = 'bob'
    first.client.close()
    first.client.connect()
    await loaded(server)
    await server.clock.advance(3 * SECOND)
    server.publish('user:alice', 'secret', 'of alice')
    server.publish('user:bob', 'secret', 'of bob')
    await server.clock.advance(SECOND)
    expect(first.events.map(({ data }) => data)).toEqual(['of bob'])
    expect(second.events.map(({ data }) => data)).toEqual(['of alice'])
    who = 'alice'
    first.client.close()
    first.client.connect()
    await loaded(server)
    await server.clock.advance(20 * SECOND)
    expect(live()).toBe(1)
  })

  it('are not handed what the connection of the former user still brings', async () => {
    let who = 'alice'
    const leader = await tab({ getToken: () => tokenOf(who) })
    const bob = await tab(as('bob'))
    await bob.client.close()
    who = 'bob'
    // The gateway asks for a newer token; that of another user does not change whose the session
    // is.
    server.say({ events: [], expiring: { expires_at: '2026-11-20T04:30:12.000Z' } })
    await loaded(server)
    await server.clock.advance(3 * SECOND)
    bob.client.connect()
    await loaded(server)
    await server.clock.advance(3 * SECOND)
    server.publish('user:alice', 'secret', 'of alice')
    server.publish('user:bob', 'secret', 'of bob')
    await server.clock.advance(2 * SECOND)
    expect(bob.events.map(({ data }) => data)).toEqual(['of bob'])
    expect(leader.events.map(({ data }) => data)).not.toContain('of alice')
    expect(leader.client.hello?.user).toBe('bob')
  })

  it('are told apart where a cookie says who they are', async () => {
    let visitor = 'alice'
    server.userOf = (token) => holderOf(token, visitor)
    const first = await tab()
    visitor = 'bob'
    const second = await tab()
    server.publish('user:alice', 'secret', 'of alice')
    server.publish('user:bob', 'secret', 'of bob')
    await server.clock.advance(SECOND)
    expect(first.events.map(({ data }) => data)).toEqual(['of alice'])
    expect(second.events.map(({ data }) => data)).toEqual(['of bob'])
    // The first reconnects, and is bob from now on as well.
    server.cut()
    await server.clock.advance(20 * SECOND)
    expect(first.client.hello?.user).toBe('bob')
    expect(live()).toBe(1)
  })

  it.each(['ws', 'sse', 'poll'] as const)(
    'never hear as one user what a cookie of another brings: on %s',
    async (transport) => {
      let visitor = 'alice'
      server.userOf = () => visitor
      const tabs = [await tab({ transports: [transport] }), await tab({ transports: [transport] })]
      const heard: unknown[] = []
      for (const { client } of tabs) {
        client.onAny(({ data }) => heard.push([client.hello?.user, data]))
        client.room('a').subscribe()
      }
      await server.clock.advance(3 * SECOND)
      server.publish('room:a', 'said', 'to alice')
      await server.clock.advance(SECOND)
      visitor = 'bob'
      server.cut()
      // The poll that waits belongs to alice; those after it do not.
      await server.clock.advance(10 * SECOND)
      server.publish('room:a', 'said', 'to bob')
      server.publish('user:alice', 'said', 'of alice')
      server.publish('user:bob', 'said', 'of bob')
      await server.clock.advance(10 * SECOND)
      await loaded(server)
      await server.clock.advance(10 * SECOND)
      const both = (user: string, data: string) => [1, 2].map(() => [user, data])
      const expected = [...both('alice', 'to alice'), ...both('bob', 'of bob'), ...both('bob', 'to bob')]
      expect([...heard].sort()).toEqual(expected)
      expect(tabs.filter(({ isConnected }) => isConnected)).toHaveLength(1)
    },
  )

  it.each([
    ['scopes', { scopes: ['staff'] }, {}],
    ['topics', { subscribe: ['room:*'] }, { subscribe: ['room:a'] }],
  ] as const)('are those whose tokens allow other %s, too', async (_, first, second) => {
    await tab(as('alice', first))
    await tab(as('alice', second))
    expect(live()).toBe(2)
  })

  it('are not those whose tokens were merely renewed', async () => {
    await tab(as('alice', { exp: 1 }))
    await tab(as('alice', { exp: 2 }))
    expect(live()).toBe(1)
  })

  it.each([
    { types: ['said'] },
    { interval: 500 },
    { credentials: 'include' },
    { transports: ['ws'] },
  ] as ClientOptions[])('are those with other options as well: %o', async (options) => {
    const [first, second] = [await tab(), await tab(options)]
    expect(live()).toBe(2)
    server.publish('user:test', 'said')
    await server.clock.advance(SECOND)
    expect([first.seqs, second.seqs]).toEqual([[1], [1]])
  })
})

describe('what one tab wants', () => {
  it('is no longer wanted when it has moved on', async () => {
    const [, second] = [await tab(), await tab()]
    for (let index = 0; index < 70; index += 1) {
      const off = second.client.room(`${index}`).subscribe()
      await server.clock.advance(200)
      if (index < 69) off()
    }
    await server.clock.advance(5 * SECOND)
    expect(server.subscriptions).toEqual([['user:test', 'all', 'room:69']])
    expect(second.client.state.phase).toBe('live')
  })

  it('is no longer wanted when the tab is closed, or gone without a word', async () => {
    const [, second, third] = [await tab(), await tab(), await tab()]
    second.client.room('a').subscribe()
    third.client.room('b').subscribe()
    void second.client.room('a').presence('online')
    void third.client.room('b').presence('online')
    await server.clock.advance(2 * SECOND)
    expect(server.subscriptions[0]).toHaveLength(4)
    second.client.close()
    third.crash()
    await server.clock.advance(6 * SECOND)
    expect(server.subscriptions).toEqual([['user:test', 'all']])
    expect([...server.rules.members]).toEqual([])
  })

  it('is wanted for as long as another tab wants it', async () => {
    const [first, second, third] = [await tab(), await tab(), await tab()]
    const heard: unknown[] = []
    const off = second.client.room('a').subscribe()
    third.client.room('a').onAny(({ data }) => heard.push(data))
    await server.clock.advance(2 * SECOND)
    off()
    first.client.room('a').subscribe()()
    await server.clock.advance(3 * SECOND)
    server.publish('room:a', 'said', 'hi')
    await server.clock.advance(SECOND)
    expect(heard).toEqual(['hi'])
  })

  it('shows the best status that a tab has, and leaves with the last', async () => {
    const [first, second, third] = [await tab(), await tab(), await tab()]
    void second.client.room('a').presence('away')
    await server.clock.advance(2 * SECOND)
    expect(server.rules.members.get('room:a')).toBe('away')
    void third.client.room('a').presence('online')
    await server.clock.advance(2 * SECOND)
    expect(server.rules.members.get('room:a')).toBe('online')
    void third.client.room('a').presence('offline')
    await server.clock.advance(2 * SECOND)
    expect(server.rules.members.get('room:a')).toBe('away')
    void first.client.room('a').presence('online')
    await server.clock.advance(2 * SECOND)
    second.client.close()
    await server.clock.advance(2 * SECOND)
    expect(server.rules.members.get('room:a')).toBe('online')
    void first.client.room('a').presence('offline')
    await server.clock.advance(2 * SECOND)
    expect(server.rules.members.has('room:a')).toBe(false)
  })

  it('and the gateway refuses is told in that tab', async () => {
    server.rules.forbidden.add('room:b')
    const [first, second] = [await tab(), await tab()]
    const refused: string[] = []
    for (const { client } of [first, second]) client.room('b').onRefused(({ topic }) => refused.push(topic))
    second.client.room('b').subscribe()
    await server.clock.advance(3 * SECOND)
    expect(refused).toContain('room:b')
    expect(second.client.state.phase).toBe('live')
    expect(live()).toBe(1)
  })
})

describe('a tab in the background that leads', () => {
  it.each(['cut', 'drain'] as const)('reconnects for a tab that is looked at: %s', async (end) => {
    const [first, second] = [await tab(), await tab()]
    first.show(false)
    await server.clock.advance(5 * SECOND)
    if (end === 'drain') server.bye('drain')
    server.cut()
    await server.clock.advance(3 * SECOND)
    expect(second.client.state.phase).toBe('live')
    server.publish('user:test', 'tick')
    await server.clock.advance(SECOND)
    expect(second.seqs).toEqual([1])
    expect(live()).toBe(1)
  })

  it('serves a tab that is opened after it has paused, and carries out its commands', async () => {
    const first = await tab()
    first.show(false)
    server.cut()
    await server.clock.advance(60 * SECOND)
    expect(first.client.state.phase).toBe('paused')
    const second = await tab()
    expect(second.client.state.phase).toBe('live')
    const sent = second.client.room('a').publish('said', 'hi')
    await server.clock.advance(SECOND)
    expect(await sent).toMatchObject({ seq: 1 })
    expect(live()).toBe(1)
  })

  it('rests again when nobody looks', async () => {
    const [first, second] = [await tab(), await tab()]
    first.show(false)
    second.show(false)
    await server.clock.advance(5 * SECOND)
    server.cut()
    await server.clock.advance(60 * SECOND)
    expect(live()).toBe(0)
    second.show(true)
    await server.clock.advance(3 * SECOND)
    expect(second.client.state.phase).toBe('live')
    expect(live()).toBe(1)
  })

  it('does not keep others from connecting when its own token is not to be had', async () => {
    let broken = false
    const token = (): string | Promise<string> => (broken ? new Promise<string>(() => {}) : tokenOf('alice'))
    const [, second] = [await tab({ getToken: token }), await tab(as('alice'))]
    broken = true
    server.token = 'nobody'
    server.cut()
    await server.clock.advance(2 * SECOND)
    server.token = null
    await server.clock.advance(20 * SECOND)
    expect(second.client.state.phase).toBe('live')
  })
})

describe('a tab that sleeps', () => {
  it('asks before it judges, and shares as before', async () => {
    const tabs = [await tab(), await tab(), await tab()]
    for (const each of tabs) each.freeze()
    await server.clock.sleep(12 * SECOND)
    for (const each of tabs) each.resume()
    await server.clock.advance(10 * SECOND)
    expect(live()).toBe(1)
    server.publish('user:test', 'tick')
    await server.clock.advance(SECOND)
    for (const { seqs } of tabs) expect(seqs).toEqual([1])
  })

  it('and leads is done without meanwhile; the others follow again afterwards', async () => {
    const [first, second, third] = [await tab(), await tab(), await tab()]
    first.freeze()
    await server.clock.advance(12 * SECOND)
    expect(second.client.state.phase).toBe('live')
    server.publish('user:test', 'tick')
    await server.clock.advance(SECOND)
    expect(second.seqs).toEqual([1])
    first.resume()
    await server.clock.advance(20 * SECOND)
    expect(live()).toBe(1)
    server.publish('user:test', 'tick')
    await server.clock.advance(SECOND)
    for (const { seqs } of [first, second, third]) expect(seqs).toEqual([1, 2])
  })

  it('misses nothing of what it alone wants', async () => {
    const [, second] = [await tab(), await tab()]
    const heard: unknown[] = []
    second.client.room('a').onAny(({ data }) => heard.push(data))
    await server.clock.advance(2 * SECOND)
    second.freeze()
    for (let index = 0; index < 10; index += 1) {
      server.publish('room:a', 'said', index)
      await server.clock.advance(2 * SECOND)
    }
    second.resume()
    await server.clock.advance(20 * SECOND)
    server.publish('room:a', 'said', 10)
    await server.clock.advance(SECOND)
    expect(heard).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(live()).toBe(1)
  })
})

describe.each(['chromium', 'webkit', 'firefox'] as Browser[])(
  'a page of %s that is left and gone back to',
  (browser) => {
    beforeEach(() => {
      origin = new Origin(browser)
    })

    it('leaves one leader, and each command is carried out once', async () => {
      let [first, second, third] = [await tab(), await tab(), await tab()]
      first.leave()
      await server.clock.advance(2 * SECOND)
      expect(live()).toBe(1)
      if (!first.back()) first = await tab()
      await server.clock.advance(2 * SECOND)
      const sent = third.client.room('a').publish('said', 'once')
      await server.clock.advance(SECOND)
      expect(await sent).toMatchObject({ seq: 1 })
      expect(commands('publish')).toHaveLength(1)
      await server.clock.advance(20 * SECOND)
      expect(live()).toBe(1)
      server.publish('user:test', 'tick')
      await server.clock.advance(SECOND)
      for (const { seqs } of [first, second, third]) expect(seqs.at(-1)).toBe(2)
      second = third
    })

    it('stops leading when its lock is taken away without a word before', async () => {
      const [first, second, third] = [await tab(), await tab(), await tab()]
      origin.take(first)
      await server.clock.advance(SECOND)
      const sent = third.client.room('a').publish('said', 'once')
      await server.clock.advance(SECOND)
      await sent
      expect(commands('publish')).toHaveLength(1)
      server.publish('user:test', 'tick')
      await server.clock.advance(20 * SECOND)
      for (const { seqs } of [first, second, third]) expect(seqs).toEqual([2])
      expect(live()).toBe(1)
    })
  },
)
