import { FakeServer } from '@throughline/client/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { connectTo, liveLinks, MINUTE, SECOND } from './harness.js'

let server: FakeServer
beforeEach(() => {
  server = new FakeServer()
})

const requests = (transport: string): number =>
  server.requests.filter((request) => request.transport === transport).length

describe('choosing', () => {
  it('settles on WebSocket and opens nothing else on an open path', async () => {
    const { client, seqs, reports } = connectTo(server)
    await server.clock.advance(5 * SECOND)
    server.publish('user:test', 'progress', { percent: 1 })
    await server.clock.advance(SECOND)
    expect(client.state).toMatchObject({ phase: 'live', transport: 'ws', isRealtime: true, retryCount: 0, error: null })
    expect(client.state.latencyMs).toBe(server.latencyMs)
    expect(seqs).toEqual([1])
    expect(server.requests).toHaveLength(1)
    expect(reports).toEqual([{ type: 'transport', from: null, to: 'ws', reason: 'first' }])
  })

  it('goes to SSE at once where WebSocket is refused, without waiting for its turn', async () => {
    server.path.ws = 'refused'
    const { client } = connectTo(server)
    await server.clock.advance(SECOND)
    expect(client.state).toMatchObject({ phase: 'live', transport: 'sse' })
  })

  it('starts SSE after 2 s beside a WebSocket handshake that nobody answers', async () => {
    server.path.ws = 'unanswered'
    const { client } = connectTo(server)
    await server.clock.advance(1900)
    expect(requests('sse')).toBe(0)
    await server.clock.advance(SECOND)
    expect(client.state.transport).toBe('sse')
  })

  it.each(['silent', 'one-behind'] as const)('does not take an open but %s WebSocket for proof', async (path) => {
    server.path.ws = path
    const { client, seqs } = connectTo(server)
    await server.clock.advance(3 * SECOND)
    expect(client.state.transport).toBe('sse')
    server.publish('user:test', 'progress')
    await server.clock.advance(SECOND)
    expect(seqs).toEqual([1])
    await server.clock.advance(10 * SECOND)
    expect(liveLinks(server)).toBe(1)
  })

  it.each(['silent', 'one-behind'] as const)('polls where WebSocket is refused and SSE is %s', async (path) => {
    server.path.ws = 'refused'
    server.path.sse = path
    const { client, seqs } = connectTo(server)
    server.publish('user:test', 'before')
    await server.clock.advance(5 * SECOND)
    expect(client.state).toMatchObject({ phase: 'degraded', transport: 'poll', isRealtime: false })
    server.publish('user:test', 'after')
    await server.clock.advance(SECOND)
    expect(seqs.at(-1)).toBe(2)
    // The retry with padding was tried, and then SSE was left alone.
    await server.clock.advance(20 * SECOND)
    expect(server.requests.filter(({ url }) => url.searchParams.has('pad'))).toHaveLength(1)
    expect([...server.storage.items.values()].join()).toContain('"sse"')
  })

  it('falls to the next transport where sockets die right after their proof', async () => {
    server.path.ws = 400
    const { client } = connectTo(server)
    await server.clock.advance(15 * SECOND)
    expect(client.state.transport).toBe('sse')
  })

  it('never goes above what is preferred, and back up when the limit is lifted', async () => {
    const { client } = connectTo(server)
    await server.clock.advance(2 * SECOND)
    client.prefer('sse')
    await server.clock.advance(3 * SECOND)
    expect(client.state.transport).toBe('sse')
    client.prefer(null)
    await server.clock.advance(3 * SECOND)
    expect(client.state.transport).toBe('ws')
    expect(liveLinks(server)).toBe(1)
  })
})

describe('a path that does not answer', () => {
  const all = (path: 'refused' | 'unanswered' | 'open') =>
    Object.assign(server.path, { ws: path, sse: path, poll: path })

  it('holds up the next round for no more than 5 s', async () => {
    Object.assign(server.path, { ws: 'unanswered', sse: 'refused', poll: 'refused' })
    const { client } = connectTo(server)
    await server.clock.advance(4.5 * SECOND)
    all('open')
    await server.clock.advance(2 * SECOND)
    expect(client.state.transport).toBe('ws')
  })

  it('is given 10 s now and then, because it may only be slow', async () => {
    server.latencyMs = 4 * SECOND
    const { client } = connectTo(server, { transports: ['ws'] })
    await server.clock.advance(MINUTE)
    expect(client.state.transport).toBe('ws')
  })

  it('is tried every 5 s at least while the page is looked at, however long that lasts', async () => {
    all('refused')
    const { client } = connectTo(server)
    await server.clock.advance(10 * MINUTE)
    for (let outage = 0; outage < 10; outage += 1) {
      const before = requests('ws')
      await server.clock.advance(5100)
      expect(requests('ws')).toBeGreaterThan(before)
    }
    all('open')
    await server.clock.advance(5500)
    expect(client.state.phase).toBe('live')
  })

  it('up to the head of an event stream is rescued by padding', async () => {
    Object.assign(server.path, { ws: 'refused', sse: 'unpadded' })
    const { client } = connectTo(server)
    await server.clock.advance(20 * SECOND)
    expect(client.state.transport).toBe('sse')
    expect(server.links).toBe(1)
  })
})

describe('a message that is too large for somebody', () => {
  it.each(['ws', 'sse'] as const)('makes the next connection ask for smaller ones: on %s', async (next) => {
    const { client } = connectTo(server)
    await server.clock.advance(20 * SECOND)
    expect(server.requests[0]?.url.searchParams.has('batch')).toBe(false)
    if (next === 'sse') server.path.ws = 'refused'
    server.cut('ws', 1009)
    await server.clock.advance(5 * SECOND)
    expect(client.state.transport).toBe(next)
    expect(server.requests.at(-1)?.url.searchParams.get('batch')).toBe('8192')
  })
})

describe('blame and climbing', () => {
  it('probes upward after about a minute and switches without losing anything', async () => {
    server.path.ws = 'refused'
    const { client, seqs } = connectTo(server)
    await server.clock.advance(10 * SECOND)
    server.path.ws = 'open'
    for (let second = 0; second < 80; second += 1) {
      server.publish('user:test', 'tick')
      await server.clock.advance(SECOND)
    }
    expect(client.state.transport).toBe('ws')
    expect(seqs).toEqual(Array.from({ length: 80 }, (_, index) => index + 1))
    expect(liveLinks(server)).toBe(1)
  })

  it('quarantines after three strikes and remembers it for the next page', async () => {
    server.path.ws = 'refused'
    const { client } = connectTo(server)
    await server.clock.advance(8 * MINUTE)
    const tries = requests('ws')
    expect(tries).toBe(3)
    expect([...server.storage.items.values()].join()).toContain('"ws"')
    await server.clock.advance(15 * MINUTE)
    expect(requests('ws')).toBe(tries)
    client.close()
    const next = connectTo(server)
    await server.clock.advance(2 * SECOND)
    expect(next.client.state.transport).toBe('sse')
    expect(requests('ws')).toBe(tries)
    // Once the quarantine is over, it climbs again by itself.
    server.path.ws = 'open'
    await server.clock.advance(60 * MINUTE)
    expect(next.client.state.transport).toBe('ws')
  })

  it('blames nobody when everything fails', async () => {
    Object.assign(server.path, { ws: 'refused', sse: 'refused', poll: 'refused' })
    const { client } = connectTo(server)
    await server.clock.advance(3 * MINUTE)
    expect(client.state.phase).toBe('connecting')
    expect(client.state.retryCount).toBeGreaterThan(3)
    Object.assign(server.path, { ws: 'open', sse: 'open', poll: 'open' })
    await server.clock.advance(31 * SECOND)
    expect(client.state.transport).toBe('ws')
    expect(server.storage.items.size).toBe(0)
  })

  it('is back on WebSocket within a minute of a restart that let only a poll through', async () => {
    const { client } = connectTo(server)
    await server.clock.advance(20 * SECOND)
    Object.assign(server.path, { ws: 'refused', sse: 'refused' })
    server.cut()
    await server.clock.advance(3 * SECOND)
    expect(client.state.transport).toBe('poll')
    Object.assign(server.path, { ws: 'open', sse: 'open' })
    await server.clock.advance(20 * SECOND)
    expect(client.state.transport).toBe('ws')
  })

  it('tries again at once when the network changes', async () => {
    server.path.ws = 'refused'
    const { client } = connectTo(server)
    await server.clock.advance(20 * MINUTE)
    server.path.ws = 'open'
    server.page.signal('network')
    await server.clock.advance(3 * SECOND)
    expect(client.state.transport).toBe('ws')
  })

  it('forgets negatives learnt with another deployment', async () => {
    server.path.ws = 'refused'
    const first = connectTo(server)
    await server.clock.advance(8 * MINUTE)
    first.client.close()
    server.path.ws = 'open'
    server.deployment = 'd2'
    const { client } = connectTo(server)
    await server.clock.advance(10 * SECOND)
    expect(client.state.transport).toBe('ws')
  })
})

describe('silence and cuts', () => {
  it('is back within a second or so of a visible cut, with the cursor', async () => {
    const { client, seqs, resets } = connectTo(server)
    await server.clock.advance(20 * SECOND)
    server.publish('user:test', 'a')
    await server.clock.advance(100)
    server.cut()
    server.publish('user:test', 'b')
    expect(client.state.phase).toBe('recovering')
    await server.clock.advance(1500)
    expect(seqs).toEqual([1, 2])
    expect(resets).toEqual([])
    expect(client.state.transport).toBe('ws')
  })

  it.each(['ws', 'sse', 'poll'] as const)('is back within 2 s of each of many cuts of %s', async (transport) => {
    const { client, seqs } = connectTo(server, { transports: [transport] })
    await server.clock.advance(2 * SECOND)
    for (let index = 0; index < 20; index += 1) {
      await server.clock.advance(5 * SECOND)
      server.cut()
      server.publish('user:test', 'tick')
      await server.clock.advance(2 * SECOND)
      expect(client.state.transport).toBe(transport)
    }
    expect(seqs).toHaveLength(20)
  })

  it.each(['ws', 'sse', 'poll'] as const)('delivers within 15 s of a silent cut of %s', async (transport) => {
    const { client, seqs } = connectTo(server, { transports: [transport, 'poll'] })
    await server.clock.advance(30 * SECOND)
    server.freeze()
    server.publish('user:test', 'lost on the old link')
    await server.clock.advance(15 * SECOND)
    expect(seqs).toEqual([1])
    await server.clock.advance(10 * SECOND)
    expect(client.state.transport).toBe(transport)
    expect(liveLinks(server)).toBeLessThanOrEqual(2)
  })

  it('forgets earlier outages once a link has lasted', async () => {
    const { client } = connectTo(server)
    const outage = (path: 'refused' | 'open'): void => {
      Object.assign(server.path, { ws: path, sse: path, poll: path })
      server.cut()
    }
    await server.clock.advance(20 * SECOND)
    outage('refused')
    await server.clock.advance(3 * MINUTE)
    expect(client.state.retryCount).toBeGreaterThan(4)
    outage('open')
    await server.clock.advance(2 * MINUTE)
    expect(client.state.phase).toBe('live')
    outage('refused')
    await server.clock.advance(SECOND)
    expect(client.state.retryCount).toBeLessThan(4)
  })

  it('judges nothing when the machine slept, and is live again at once', async () => {
    const { client, seqs } = connectTo(server)
    await server.clock.advance(30 * SECOND)
    await server.clock.sleep(10 * MINUTE)
    await server.clock.advance(3 * SECOND)
    expect(client.state.transport).toBe('ws')
    expect(requests('ws')).toBe(1)
    server.publish('user:test', 'a')
    await server.clock.advance(SECOND)
    expect(seqs).toEqual([1])
  })

  it('asks for a heartbeat below the time after which the path cuts quiet streams', async () => {
    const { client } = connectTo(server, { transports: ['sse'], timing: { heartbeat: 15 * SECOND } })
    await server.clock.advance(300 + 10 * SECOND)
    server.cut()
    await server.clock.advance(3 * SECOND)
    expect(client.state.transport).toBe('sse')
    expect(Number(server.requests.at(-1)?.url.searchParams.get('heartbeat'))).toBeLessThanOrEqual(7)
  })

  it('shortens the hold of polls that the path cuts', async () => {
    Object.assign(server.path, { ws: 'refused', sse: 'refused', poll: 10 * SECOND })
    const { client, seqs } = connectTo(server)
    await server.clock.advance(MINUTE)
    server.publish('user:test', 'a')
    await server.clock.advance(SECOND)
    expect(client.state.transport).toBe('poll')
    expect(seqs).toEqual([1])
    const waits = server.requests.flatMap(({ url }) => url.searchParams.get('wait') ?? [])
    expect(Number(waits.at(-1))).toBeLessThan(10)
  })
})

describe('a stream that is let go in blocks', () => {
  async function publish(seconds: number, everyMs: number): Promise<void> {
    for (let passed = 0; passed < seconds * SECOND; passed += everyMs) {
      server.publish('user:test', 'tick', { text: 'x'.repeat(600) })
      await server.clock.advance(everyMs)
    }
  }

  beforeEach(() => {
    server.path.ws = 'refused'
    server.path.sse = 'blocks'
  })

  it('is taken for one that withholds once it kept twice what it owed, and left alone for 10 minutes', async () => {
    const { client, seqs, resets, reports } = connectTo(server, { after: 'earliest' })
    for (let round = 0; round < 2; round += 1) {
      // Many events fill the blocks at once.
      await publish(16, 100)
      expect(client.state.transport).toBe('sse')
      await publish(6, 3000)
      expect(client.state.transport).toBe('poll')
    }
    expect(reports).toContainEqual({ type: 'transport', from: 'sse', to: 'poll', reason: 'buffered' })
    expect([...server.storage.items.values()].join()).toContain('"sse"')
    const tries = requests('sse')
    await publish(300, 3000)
    expect(requests('sse')).toBe(tries)
    expect(client.state.transport).toBe('poll')
    expect(seqs).toEqual(Array.from({ length: server.log.seq }, (_, index) => index + 1))
    expect(resets).toEqual([])
    // Whatever holds the stream back is gone one day.
    server.path.sse = 'open'
    await publish(30 * 60, 10_000)
    expect(client.state.transport).toBe('sse')
  })

  it('never keeps an event for longer than about two seconds', async () => {
    const { seqs } = connectTo(server)
    await publish(6, 100)
    for (let index = 0; index < 30; index += 1) {
      await publish(1, 100)
      const { seq } = server.log
      let waited = 0
      for (; (seqs.at(-1) ?? 0) < seq; waited += 50) await server.clock.advance(50)
      expect(waited).toBeLessThan(2500)
    }
  })

  it('is not confused with one that is merely quiet, or with one stall', async () => {
    server.path.sse = 'open'
    const { client, seqs } = connectTo(server)
    await server.clock.advance(MINUTE)
    expect(client.state.transport).toBe('sse')
    expect(requests('sse')).toBe(1)
    // One stall: another link takes over, and SSE is not given up.
    server.freeze()
    server.publish('user:test', 'tick')
    await server.clock.advance(20 * SECOND)
    expect(seqs).toEqual([1])
    expect(client.state.transport).toBe('sse')
    expect(liveLinks(server)).toBe(1)
  })
})

describe('a stream that stops with what it owes, where there are no polls', () => {
  it('is replaced by another one', async () => {
    const { client, seqs } = connectTo(server, { transports: ['sse'] })
    await server.clock.advance(30 * SECOND)
    // The event comes through, and then nothing more.
    server.publish('user:test', 'tick')
    await server.clock.advance(100)
    server.freeze()
    server.publish('user:test', 'tick')
    await server.clock.advance(3 * SECOND)
    expect(seqs).toEqual([1, 2])
    expect(client.state.transport).toBe('sse')
  })
})

describe('a gateway that is busy', () => {
  it('is asked again soon: the client is back on WebSocket within half a minute', async () => {
    const { client } = connectTo(server)
    server.busy = true
    await server.clock.advance(6 * SECOND)
    expect(client.state.transport).toBe(null)
    server.busy = false
    server.path.ws = 'refused'
    await server.clock.advance(6 * SECOND)
    expect(client.state.transport).not.toBe('ws')
    server.path.ws = 'open'
    await server.clock.advance(20 * SECOND)
    expect(client.state.transport).toBe('ws')
  })
})

describe('one link at a time', () => {
  it.each([
    { ws: 'unanswered', sse: 'unanswered' },
    { ws: 'refused', sse: 'unanswered' },
    { ws: 'silent', sse: 'silent' },
    { ws: 'unanswered', sse: 'one-behind' },
    { ws: 'silent', sse: 'open' },
  ] as const)('is open 2 s after settling where WebSocket is $ws and SSE $sse', async (path) => {
    Object.assign(server.path, path)
    const { client } = connectTo(server)
    while (!client.state.transport) await server.clock.advance(50)
    await server.clock.advance(2 * SECOND)
    expect(server.links).toBe(1)
  })
})

describe('the gateway ends a stream', () => {
  it('renews beside the old link in its slot', async () => {
    const { client, seqs, resets } = connectTo(server)
    await server.clock.advance(20 * SECOND)
    server.bye('drain', 2000)
    server.publish('user:test', 'a')
    await server.clock.advance(1900)
    expect(requests('ws')).toBe(1)
    server.publish('user:test', 'b')
    await server.clock.advance(3 * SECOND)
    expect(requests('ws')).toBe(2)
    expect(client.state.transport).toBe('ws')
    expect(liveLinks(server)).toBe(1)
    expect(seqs).toEqual([1, 2])
    expect(resets).toEqual([])
  })

  it('stops when it is disconnected by an operator, until told to connect', async () => {
    const { client } = connectTo(server)
    await server.clock.advance(20 * SECOND)
    server.bye('disconnected')
    await server.clock.advance(100)
    server.cut('ws', 4410)
    await server.clock.advance(MINUTE)
    expect(client.state).toMatchObject({ phase: 'closed', error: { code: 4410, fatal: true } })
    expect(requests('ws')).toBe(1)
    client.connect()
    await server.clock.advance(2 * SECOND)
    expect(client.state).toMatchObject({ phase: 'live', error: null })
  })
})

describe('page life', () => {
  it('connects although the browser says that it is offline, which may be wrong', async () => {
    server.page.signal('offline')
    const { client } = connectTo(server)
    await server.clock.advance(2 * SECOND)
    expect(client.state.phase).toBe('live')
    server.cut()
    await server.clock.advance(MINUTE)
    expect(client.state.phase).toBe('live')
  })

  it.each(['online', 'network', 'visible', 'wake'] as const)(
    'asks again at once for a poll that is held when the page tells of a change: %s',
    async (signal) => {
      const { seqs } = connectTo(server, { transports: ['poll'] })
      await server.clock.advance(5 * SECOND)
      server.freeze()
      server.publish('user:test', 'lost on the old connection')
      server.page.signal(signal)
      await server.clock.advance(SECOND)
      expect(seqs).toEqual([1])
      expect(server.open.poll).toBe(1)
    },
  )

  it.each(['online', 'network'] as const)(
    'looks beside a quiet SSE stream when the network changed: %s',
    async (signal) => {
      const { client, seqs } = connectTo(server, { transports: ['sse'] })
      await server.clock.advance(5 * SECOND)
      server.freeze()
      server.publish('user:test', 'lost on the old connection')
      server.page.signal(signal)
      await server.clock.advance(2 * SECOND)
      expect(seqs).toEqual([1])
      expect(client.state.transport).toBe('sse')
      await server.clock.advance(20 * SECOND)
      expect(server.links).toBe(1)
    },
  )

  it('starts no reconnects while hidden and reconnects at once when visible', async () => {
    const { client } = connectTo(server)
    await server.clock.advance(20 * SECOND)
    server.page.signal('hidden')
    server.cut()
    await server.clock.advance(5 * MINUTE)
    expect(client.state.phase).toBe('paused')
    expect(requests('ws')).toBe(1)
    server.page.signal('visible')
    await server.clock.advance(SECOND)
    expect(client.state.phase).toBe('live')
  })

  it('closes everything on pagehide and comes back on pageshow', async () => {
    const { client } = connectTo(server)
    await server.clock.advance(20 * SECOND)
    server.page.signal('pagehide')
    await server.clock.advance(SECOND)
    expect(liveLinks(server)).toBe(0)
    expect(client.state.phase).toBe('paused')
    server.page.signal('wake')
    server.page.signal('wake')
    await server.clock.advance(SECOND)
    expect(client.state.phase).toBe('live')
    expect(requests('ws')).toBe(2)
  })

  it.each(['ws', 'sse', 'poll'] as const)(
    'tells the gateway that it leaves %s: on pagehide and on close()',
    async (transport) => {
      server.token = 'secret'
      const { client, seqs } = connectTo(server, { transports: [transport], getToken: () => 'secret' })
      await server.clock.advance(5 * SECOND)
      const { session } = client.hello ?? {}
      server.page.signal('pagehide')
      await server.clock.advance(SECOND)
      expect(server.left).toEqual([session])
      server.page.signal('wake')
      await server.clock.advance(3 * SECOND)
      server.publish('user:test', 'tick')
      await server.clock.advance(SECOND)
      expect(seqs).toEqual([1])
      client.close()
      await server.clock.advance(SECOND)
      expect(server.left).toHaveLength(2)
      // A session that was left is not continued: word of its end may arrive late.
      expect(new Set(server.left).size).toBe(2)
      expect(server.requests.map(({ url }) => url.href).join()).not.toContain('secret')
      client.close()
      server.page.signal('pagehide')
      await server.clock.advance(SECOND)
      expect(server.left).toHaveLength(2)
    },
  )

  it('tries seldom while offline and goes on at once when online', async () => {
    const { client } = connectTo(server)
    await server.clock.advance(20 * SECOND)
    server.path.ws = server.path.sse = server.path.poll = 'refused'
    server.page.signal('offline')
    server.cut()
    await server.clock.advance(2 * MINUTE)
    expect(client.state.phase).toBe('offline')
    expect(requests('ws')).toBeLessThanOrEqual(5)
    server.path.ws = server.path.sse = server.path.poll = 'open'
    server.page.signal('online')
    await server.clock.advance(SECOND)
    expect(client.state.phase).toBe('live')
  })
})
