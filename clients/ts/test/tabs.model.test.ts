/**
 * Random lives of tabs that share, over the locks, channels and pages of three browsers. However
 * they are opened, hidden, frozen, left, closed, killed and logged in as others: a tab is handed
 * everything of its own identity once and nothing else, no command is carried out twice, and 3 s
 * after things have settled one connection for each identity asks for what its tabs want, whatever
 * the transport.
 */
import type { ClientOptions, Transport } from '@throughline/client'
import { FakeServer } from '@throughline/client/testing'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SECOND } from './harness.js'
import { type Browser, holderOf, loaded, Origin, Tab, tokenOf } from './origin.js'

const USERS = ['alice', 'bob']
const ROOMS = ['a', 'b', 'c']
/** Tabs with other options share among themselves. */
const optionsOf = (transport: Transport): readonly ClientOptions[] => [
  { transports: [transport] },
  { transports: [transport], types: ['*'] },
]
const TABS_MAX = 5

/** One tab, what its user does in it, and what it has been handed. */
class Person {
  tab!: Tab
  readonly wants = new Map<string, () => void>()
  readonly problems: string[] = []
  connected = true
  /** The number of the last event by topic: each topic counts its events. */
  private last = new Map<string, number>()
  readonly final = new Set<string>()

  constructor(
    private readonly world: World,
    public user: string,
    readonly options: ClientOptions,
  ) {
    this.load()
  }

  /** Opens the page, for the first time or anew. */
  load(): void {
    this.last.clear()
    this.wants.clear()
    this.connected = true
    this.tab = new Tab(this.world.server, this.world.origin, { ...this.options, getToken: () => tokenOf(this.user) })
    const { client } = this.tab
    client.onAny(({ topic, data }) => this.hear(topic, data as number | string))
    client.onReset(({ topics }) => {
      for (const topic of topics) this.last.delete(topic)
    })
  }

  get topics(): string[] {
    return [`user:${this.user}`, 'all', ...this.wants.keys()]
  }

  want(room: string): void {
    const topic = `room:${room}`
    if (this.wants.has(topic)) {
      this.wants.get(topic)?.()
      this.wants.delete(topic)
      this.last.delete(topic)
    } else this.wants.set(topic, this.tab.client.topic(topic).subscribe())
  }

  login(user: string): void {
    this.user = user
    this.last.clear()
    this.tab.client.close()
    this.tab.client.connect()
    this.connected = true
  }

  private hear(topic: string, data: number | string): void {
    if (typeof data === 'string') return void this.final.add(topic)
    if (!this.topics.includes(topic)) this.problems.push(`${this.user} was handed ${data} of ${topic}`)
    const before = this.last.get(topic) ?? data - 1
    if (data !== before + 1) this.problems.push(`${this.user}: ${data} of ${topic} after ${before}`)
    this.last.set(topic, data)
  }
}

class World {
  readonly server: FakeServer
  readonly origin: Origin
  readonly people: Person[] = []
  private readonly counts = new Map<string, number>()
  private commands = 0
  readonly done = new Set<number>()

  readonly options: readonly ClientOptions[]

  constructor(seed: number, browser: Browser, transport: Transport) {
    this.options = optionsOf(transport)
    this.server = new FakeServer({ seed })
    this.server.userOf = (token) => holderOf(token)
    this.origin = new Origin(browser)
  }

  publish(topic: string): void {
    const count = (this.counts.get(topic) ?? 0) + 1
    this.counts.set(topic, count)
    this.server.publish(topic, 'tick', count)
  }

  command(person: Person): void {
    this.commands += 1
    const number = this.commands
    const sent = person.tab.client.topic('commands').publish('command', number)
    sent.then(
      () => this.done.add(number),
      () => {}, // Its fate is unknown, which is allowed.
    )
  }

  async pass(ms: number): Promise<void> {
    await this.server.clock.advance(ms)
  }

  /** Everything runs, is looked at and has had some time. */
  async settle(): Promise<void> {
    this.server.latencyMs = 5
    for (const person of this.people) {
      if (!person.tab.back()) person.load()
      person.tab.resume()
      person.tab.show(true)
    }
    await this.pass(0)
    for (const person of this.people) if (!person.connected) person.tab.client.close()
    await this.pass(3 * SECOND)
  }

  async judge(): Promise<void> {
    const { server, people } = this
    const here = people.filter(({ connected }) => connected)
    for (const { problems } of people) expect(problems).toEqual([])
    const groups = new Map<string, Set<string>>()
    for (const { user, options, topics } of here) {
      const name = JSON.stringify([user, options])
      groups.set(name, new Set([...(groups.get(name) ?? []), ...topics]))
    }
    const sorted = (lists: Iterable<Iterable<string>>): string[] =>
      [...lists].map((list) => [...list].sort().join()).sort()
    for (let look = 0; look < 100; look += 1) {
      expect(people.filter(({ tab }) => tab.isConnected).length).toBeLessThanOrEqual(groups.size)
      await this.pass(50)
    }
    // By now nothing is wanted any more by tabs that are gone. A poller asks again some moments
    // after an answer.
    const seen = new Set<string>()
    for (let look = 0; look < 20; look += 1) {
      seen.add(JSON.stringify(sorted(server.subscriptions)))
      await this.pass(10)
    }
    expect([...seen].join(' ')).toContain(JSON.stringify(sorted(groups.values())))
    for (const topic of ['all', ...USERS.map((user) => `user:${user}`), ...ROOMS.map((room) => `room:${room}`)]) {
      server.publish(topic, 'tick', 'final')
    }
    await this.pass(2 * SECOND)
    for (const { final, topics } of here) expect([...final].sort()).toEqual([...topics].sort())
    const carried = server.commands.flatMap(({ op, data }) => (op === 'publish' ? [data as number] : []))
    expect(carried).toEqual([...new Set(carried)])
    for (const number of this.done) expect(carried).toContain(number)
  }
}

type Act = (world: World, person: Person) => void | Promise<void>

const on = (name: string, run: (person: Person) => void): fc.Arbitrary<{ name: string; run: Act }> =>
  fc.constant({ name, run: (_, person) => run(person) })

const act: fc.Arbitrary<{ name: string; run: Act }> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom('user:alice', 'user:bob', 'all', 'room:a', 'room:b', 'room:c').map((topic) => ({
      name: `publish ${topic}`,
      run: (world: World) => world.publish(topic),
    })),
  },
  {
    weight: 6,
    arbitrary: fc
      .oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 300, max: 15_000 }))
      .map((ms) => ({ name: `wait ${ms}`, run: (world: World) => world.pass(ms) })),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.nat(1), fc.nat(1)).map(([user, options]) => ({
      name: `open ${USERS[user]} ${options}`,
      run: (world: World) => {
        if (world.people.length >= TABS_MAX) return
        world.people.push(new Person(world, USERS[user] as string, world.options[options] as ClientOptions))
      },
    })),
  },
  {
    weight: 4,
    arbitrary: fc.constantFrom(...ROOMS).map(
      (room) =>
        ({
          name: `want ${room}`,
          run: (_: World, person: Person) => person.tab.running && person.connected && person.want(room),
        }) as { name: string; run: Act },
    ),
  },
  {
    weight: 2,
    arbitrary: fc.constant({
      name: 'command',
      run: (world: World, person: Person) => {
        if (person.tab.running && person.connected) world.command(person)
      },
    }),
  },
  on('hide', ({ tab }) => tab.show(false)),
  on('show', ({ tab }) => tab.show(true)),
  { weight: 3, arbitrary: on('freeze', ({ tab }) => tab.freeze()) },
  { weight: 3, arbitrary: on('resume', ({ tab }) => tab.kept || tab.resume()) },
  on('leave', ({ tab }) => tab.leave()),
  on('lose the lock', ({ tab }) => tab.origin.take(tab)),
  on('back', (person) => person.tab.back() || person.load()),
  on('crash', ({ tab }) => tab.crash()),
  on('close', (person) => {
    if (!person.tab.running) return
    person.tab.client.close()
    person.connected = false
  }),
  on('connect', (person) => {
    if (!person.tab.running || person.connected) return
    person.login(person.user)
  }),
  fc.constantFrom(...USERS).map((user) => ({
    name: `log in as ${user}`,
    run: (_: World, person: Person) => {
      if (person.tab.running) person.login(user)
    },
  })),
  fc.constant({ name: 'cut', run: (world: World) => world.server.cut() }),
  fc.constant({ name: 'drain', run: (world: World) => world.server.bye('drain', 500) }),
  fc.integer({ min: 1, max: 400 }).map((ms) => ({
    name: `latency ${ms}`,
    run: (world: World) => {
      world.server.latencyMs = ms
    },
  })),
  fc.integer({ min: 2000, max: 60_000 }).map((ms) => ({
    name: `sleep ${ms}`,
    run: async (world: World) => {
      const awake = world.people.filter(({ tab }) => tab.running)
      for (const { tab } of awake) tab.freeze()
      await world.server.clock.sleep(ms)
      for (const { tab } of awake) tab.resume()
    },
  })),
  fc.integer({ min: 2, max: 9 }).map((epoch) => ({
    name: `a new history ${epoch}`,
    run: (world: World) => {
      world.server.cut()
      world.server.log.restart(`e${epoch}-${world.server.log.seq}`)
    },
  })),
)

const cases = (['chromium', 'webkit', 'firefox'] as Browser[]).flatMap((browser) =>
  (['ws', 'sse', 'poll'] as Transport[]).map((transport) => ({ browser, transport })),
)

describe.each(cases)('tabs that share $transport in $browser', ({ browser, transport }) => {
  it('are each served once, by one connection, with what they want', async () => {
    const numRuns = Number(process.env.PROPERTY_RUNS ?? 40)
    const step = fc.tuple(fc.nat(TABS_MAX - 1), act).map(([tab, { name, run }]) => ({
      tab,
      run,
      [fc.toStringMethod]: () => `${tab}: ${name}`,
    }))
    await fc.assert(
      fc.asyncProperty(fc.integer(), fc.array(step, { minLength: 5, maxLength: 40 }), async (seed, steps) => {
        const world = new World(seed, browser, transport)
        world.people.push(...[0, 1].map(() => new Person(world, 'alice', world.options[0] as ClientOptions)))
        await loaded(world.server)
        await world.pass(2 * SECOND)
        for (const { tab, run } of steps) {
          await run(world, world.people[tab % world.people.length] as Person)
        }
        await world.settle()
        await world.judge()
        for (const { tab } of world.people) tab.crash()
      }),
      { numRuns },
    )
  }, 300_000)
})
