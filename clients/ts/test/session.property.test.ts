import type { Batch, Client, CommandError } from '@throughline/client'
import { FakeServer } from '@throughline/client/testing'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { connectTo, MINUTE, SECOND } from './harness.js'

type Act = (server: FakeServer) => void | Promise<void>

/**
 * Ways of misleading a client that an honest gateway behind a hostile path, or a broken gateway,
 * may show.
 */
const LIES: Record<string, (server: FakeServer) => FakeServer['tamper']> = {
  none: () => (text) => [text],
  repeats: () => (text) => [text, text],
  omits: (server) => (text) => (server.log.seq % 3 === 0 ? [] : [text]),
  garbles: (server) => (text) => (server.log.seq % 4 === 0 ? [text.slice(0, text.length / 2)] : [text]),
  swaps: () => {
    let held: string | null = null
    return (text) => {
      if (held === null) {
        held = text
        return []
      }
      const both = [text, held]
      held = null
      return both
    }
  },
  'echoes old events': (server) => (text) => {
    const batch = JSON.parse(text) as Batch
    if (!Array.isArray(batch.events) || batch.events.length === 0) return [text]
    const first = batch.events[0]?.seq ?? 0
    const old = server.log.events.filter(({ seq = 0 }) => seq < first).slice(-3)
    return [JSON.stringify({ ...batch, events: [...old, ...batch.events] })]
  },
  'numbers wrongly': () => (text) => [text.replace(/"seq":(\d+)/, '"seq":-$1')],
  'shuffles within a batch': () => (text) => {
    const batch = JSON.parse(text) as Batch
    return [JSON.stringify(Array.isArray(batch.events) ? { ...batch, events: [...batch.events].reverse() } : batch)]
  },
}

const transport = fc.constantFrom('ws' as const, 'sse' as const, 'poll' as const)
const path = fc.oneof(
  { weight: 3, arbitrary: fc.constant('open' as const) },
  fc.constantFrom(
    'refused' as const,
    'unanswered' as const,
    'silent' as const,
    'one-behind' as const,
    'blocks' as const,
  ),
  fc.integer({ min: 20, max: 5000 }),
)

const act: fc.Arbitrary<{ name: string; run: Act }> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.integer({ min: 1, max: 5 }).map((count) => ({
      name: `publish ${count}`,
      run: (server: FakeServer) => {
        for (let index = 0; index < count; index += 1) server.publish('user:test', 'tick', index)
      },
    })),
  },
  {
    weight: 6,
    arbitrary: fc
      .integer({ min: 1, max: 15_000 })
      .map((ms) => ({ name: `wait ${ms}`, run: (server: FakeServer) => server.clock.advance(ms) })),
  },
  fc.tuple(transport, path).map(([on, what]) => ({
    name: `${on} ${what}`,
    run: (server: FakeServer) => {
      server.path[on] = what
    },
  })),
  transport.map((on) => ({ name: `cut ${on}`, run: (server: FakeServer) => server.cut(on) })),
  fc.constant({ name: 'freeze', run: (server: FakeServer) => server.freeze() }),
  fc.constantFrom(...Object.keys(LIES)).map((lie) => ({
    name: `lie: ${lie}`,
    run: (server: FakeServer) => {
      server.tamper = (LIES[lie] as (typeof LIES)[string])(server)
    },
  })),
  fc
    .integer({ min: 0, max: 3 })
    .map((keep) => ({ name: `trim ${keep}`, run: (server: FakeServer) => server.log.trim(keep) })),
  fc.integer({ min: 2, max: 9 }).map((epoch) => ({
    name: `epoch ${epoch}`,
    run: (server: FakeServer) => {
      server.cut()
      server.log.restart(`e${epoch}-${server.log.seq}`)
    },
  })),
  fc
    .integer({ min: 0, max: 3000 })
    .map((ms) => ({ name: `bye ${ms}`, run: (server: FakeServer) => server.bye('drain', ms) })),
  fc.constantFrom('hidden', 'visible', 'wake', 'online', 'offline', 'network', 'pagehide').map((signal) => ({
    name: signal,
    run: (server: FakeServer) => server.page.signal(signal as 'wake'),
  })),
  fc
    .integer({ min: 2000, max: 3_600_000 })
    .map((ms) => ({ name: `sleep ${ms}`, run: (server: FakeServer) => server.clock.sleep(ms) })),
)

/** What the user of a client wants of topics. */
class World {
  private readonly offs = new Map<string, () => void>()
  readonly present = new Set<string>()
  /** The gateway did not give it something, and not for its rate. */
  refused = false

  constructor(private readonly client: Client) {}

  get topics(): string[] {
    return [...this.offs.keys()].sort()
  }

  /** Wants a room, or no longer. */
  wish(room: string, present: boolean): void {
    const topic = this.client.room(room)
    topic.onRefused(({ code }) => {
      this.refused ||= code !== 'rate_limited'
    })
    const off = this.offs.get(topic.name)
    if (off) off()
    if (off) this.offs.delete(topic.name)
    else this.offs.set(topic.name, topic.subscribe())
    if (present) {
      this.present.add(topic.name)
      topic.presence('online').catch(({ code }: CommandError) => {
        this.refused ||= code !== 'rate_limited'
      })
    }
  }
}

/**
 * Each seq once and rising. Without a reset between them nothing is left out: no other topic has
 * events.
 * @param from what was before the first; undefined: unknown.
 */
function inOrder(trace: readonly (number | 'reset')[], from?: number): void {
  let before = from
  let reset = false
  for (const step of trace) {
    if (step === 'reset') reset = true
    else {
      if (before !== undefined) expect(step).toBeGreaterThan(before)
      if (before !== undefined && !reset) expect(step).toBe(before + 1)
      before = step
      reset = false
    }
  }
}

/**
 * How things are when the client starts, and what its user wants: none of it is as in other tests.
 */
const start = fc.record({
  after: fc.constantFrom('earliest', 'latest'),
  hidden: fc.boolean(),
  offline: fc.boolean(),
  path: fc.record({ ws: path, sse: path, poll: path }),
  /** Events of before, and how many of them are still there. */
  before: fc.nat(20),
  kept: fc.nat(5),
  latencyMs: fc.constantFrom(5, 50, 400),
  /** What `getToken` takes; 11 s is longer than it may. */
  tokenMs: fc.constantFrom(0, 1, 3000, 9000, 11_000),
  limit: fc.boolean(),
  maxTopics: fc.constantFrom(3, 4, 64),
})

describe('whatever happens', () => {
  it('from an unfriendly start, the application sees each seq once, in order, or a reset, and has its topics', async () => {
    const runs = Number(process.env.PROPERTY_RUNS ?? 150)
    const wish = fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.boolean()).map(([room, present]) => ({ room, present }))
    const step = fc.oneof(
      {
        weight: 4,
        arbitrary: act.map(({ name, run }) => ({ name, run: (server: FakeServer, _: World) => run(server) })),
      },
      {
        weight: 1,
        arbitrary: wish.map(({ room, present }) => ({
          name: `wish ${room}`,
          run: (_: FakeServer, world: World) => world.wish(room, present),
        })),
      },
      {
        weight: 1,
        arbitrary: fc.constantFrom('a', 'b', 'c').map((room) => ({
          name: `allow or not ${room}`,
          run: ({ rules: { forbidden } }: FakeServer, world: World) => {
            // Presence may be refused when nothing waits for it: the next session asks again.
            world.refused = true
            if (!forbidden.delete(`room:${room}`)) forbidden.add(`room:${room}`)
          },
        })),
      },
    )
    await fc.assert(
      fc.asyncProperty(
        fc.integer(),
        start,
        fc.array(step, { minLength: 5, maxLength: 40 }),
        async (seed, begin, steps) => {
          const server = new FakeServer({ seed })
          for (let index = 0; index < begin.before; index += 1) server.publish('user:test', 'tick', index)
          server.log.trim(begin.kept)
          server.latencyMs = begin.latencyMs
          server.rules.maxTopics = begin.maxTopics
          if (begin.limit) server.rules.limit(30, 3)
          if (begin.hidden) server.page.signal('hidden')
          if (begin.offline) server.page.signal('offline')
          Object.assign(server.path, begin.path)
          let tokenMs = begin.tokenMs
          const trace: (number | 'reset')[] = []
          const { client } = connectTo(server, {
            after: begin.after,
            getToken: () => new Promise((resolve) => server.clock.setTimeout(() => resolve('token'), tokenMs)),
          })
          client.onAny(({ topic, seq = 0 }) => topic === 'user:test' && trace.push(seq))
          client.onReset(({ topics }) => topics.includes('user:test') && trace.push('reset'))
          const world = new World(client)

          for (const { run } of steps) await run(server, world)

          server.tamper = (text) => [text]
          tokenMs = 0
          server.rules.forbidden.clear()
          server.rules.maxTopics = 64
          server.latencyMs = 5
          Object.assign(server.path, { ws: 'open', sse: 'open', poll: 'open' })
          server.page.signal('online')
          server.page.signal('visible')
          await server.clock.advance(8 * MINUTE)
          // What was refused is asked for again by the next connection; what was too much for its
          // rate, by this one.
          if (world.refused) server.cut()
          await server.clock.advance(MINUTE)
          const last = server.publish('user:test', 'last').seq
          await server.clock.advance(5 * SECOND)

          expect(trace.at(-1)).toBe(last)
          inOrder(trace)
          expect(client.state.transport).toBe('ws')
          expect(server.subscriptions.map((topics) => topics.slice(2).sort())).toEqual([world.topics])
          for (const topic of world.present) expect(server.rules.members.get(topic)).toBe('online')
          client.close()
        },
      ),
      { numRuns: runs },
    )
  }, 300_000)

  it('the application sees each seq once, in order, or a reset', async () => {
    const runs = Number(process.env.PROPERTY_RUNS ?? 300)
    await fc.assert(
      fc.asyncProperty(fc.integer(), fc.array(act, { minLength: 5, maxLength: 60 }), async (seed, acts) => {
        const server = new FakeServer({ seed })
        const trace: (number | 'reset')[] = []
        const { client } = connectTo(server)
        client.onAny(({ seq = 0 }) => trace.push(seq))
        client.onReset(() => trace.push('reset'))
        await server.clock.advance(2 * SECOND)

        for (const { run } of acts) await run(server)

        // Everything heals; one last event must arrive.
        server.tamper = (text) => [text]
        Object.assign(server.path, { ws: 'open', sse: 'open', poll: 'open' })
        server.page.signal('online')
        server.page.signal('visible')
        // Longer than the window in which switches are limited.
        await server.clock.advance(8 * MINUTE)
        const last = server.publish('user:test', 'last').seq
        await server.clock.advance(5 * SECOND)

        expect(trace.at(-1)).toBe(last)
        inOrder(trace, 0)
        expect(client.state.transport).toBe('ws')
        expect(server.open.ws + server.open.sse + server.open.poll).toBe(1)
        client.close()
      }),
      { numRuns: runs },
    )
  })
})
