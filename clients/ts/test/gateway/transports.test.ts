import { createHmac } from 'node:crypto'
import { CommandError, type Transport } from '@throughline/client'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { connectTo, Gateway, Path, SECOND, sleep, until, untilHeard } from './gateway.js'

const TRANSPORTS: Transport[] = ['ws', 'sse', 'poll']
/** As many as a busy machine can serve in the time; `npm run test:browser` has 500. */
const CROWD = 100
let gateway: Gateway
let path: Path
let ends: (() => void)[] = []

beforeAll(async () => {
  gateway = await Gateway.start()
  path = await new Path(gateway.url).open()
})
afterEach(() => {
  for (const end of ends) end()
  ends = []
  path.refuse.clear()
})
afterAll(async () => {
  path.close()
  await gateway.stop()
})

const connect: typeof connectTo = (url, options) => {
  const connected = connectTo(url, options)
  ends.push(() => connected.client.close())
  return connected
}

/** A token as `gateway dev` takes them. */
function tokenOf(claims: object): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`
  return `${signed}.${createHmac('sha256', 'dev-secret').update(signed).digest('base64url')}`
}

const count = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, index) => from + index)

describe.each(TRANSPORTS)('%s alone', (transport) => {
  it('delivers in order, resumes after a cut, and loses nothing', async () => {
    const { client, seqs, resets } = connect(path.url, { transports: [transport], user: `only-${transport}` })
    await client.ready()
    expect(client.state.transport).toBe(transport)
    const topic = `user:only-${transport}`
    const first = await gateway.publish(topic, 'tick', 0)
    for (let index = 1; index < 50; index += 1) {
      if (index % 10 === 0) path.cut()
      await gateway.publish(topic, 'tick', index)
    }
    await until(() => seqs.at(-1) === first + 49, 'the last event')
    expect(seqs).toEqual(count(first, first + 49))
    expect(resets).toEqual([])
  })

  it('sends commands and hears their replies', async () => {
    const { client } = connect(path.url, { transports: [transport], user: `talks-${transport}` })
    await client.ready()
    const room = client.room(`talk-${transport}`)
    const heard: unknown[] = []
    room.on('said', ({ data }) => heard.push(data))
    await untilHeard({ client }, room.name)
    const { seq } = await room.publish('said', 'hello')
    await until(() => heard.length === 1, 'the echo')
    expect(heard).toEqual(['hello'])
    await expect(room.publish('said', 'late', { expect: 0 })).rejects.toMatchObject({ code: 'conflict', seq })
    await expect(client.send({ op: 'nonsense' })).rejects.toBeInstanceOf(CommandError)
  })

  it('is a member of a room while it says so, and shows something else without leaving', async () => {
    const user = `is-${transport}`
    const { client } = connect(path.url, { transports: [transport], user })
    const room = client.room(`here-${transport}`)
    const told: string[] = []
    room.onAny(({ type }) => told.push(type))
    await room.presence('online', { role: 'architect' })
    await until(() => told.length > 0, 'word of the join')
    const [joined] = await room.members()
    expect(joined).toMatchObject({ user, status: 'online', info: { role: 'architect' } })
    await room.presence('away', { role: 'editor' })
    await until(() => told.length > 1, 'word of the change')
    const [changed] = await room.members()
    expect(changed).toMatchObject({ user, status: 'away', info: { role: 'editor' }, since: joined?.since })
    await room.presence('offline')
    await until(() => told.length > 2, 'word of the leave')
    expect(told).toEqual(['presence.join', 'presence.update', 'presence.leave'])
    const members = await room.members()
    expect(members.filter(({ status }) => status !== 'offline')).toEqual([])
  })
})

describe('choosing on a real path', () => {
  it('settles on WebSocket, and the first event is there at once', async () => {
    const { client, seqs } = connect(path.url)
    await client.ready()
    const seq = await gateway.publish('user:alice', 'first')
    const ms = await until(() => seqs.includes(seq), 'the event')
    expect(client.state.transport).toBe('ws')
    expect(ms).toBeLessThan(SECOND)
  })

  it('switches down and up without losing or repeating anything', async () => {
    path.refuse.add('ws')
    const { client, seqs, resets } = connect(path.url, {
      user: 'bob',
      timing: { probe: [1500], stable: 500 },
    })
    await client.ready()
    expect(client.state.transport).toBe('sse')
    let stop = false
    const sent: number[] = []
    const publishing = (async () => {
      while (!stop) {
        sent.push(await gateway.publish('user:bob', 'tick'))
        await sleep(20)
      }
    })()
    path.refuse.clear()
    await until(() => client.state.transport === 'ws', 'up to WebSocket')
    path.refuse.add('ws')
    path.refuse.add('sse')
    path.cut()
    await until(() => client.state.transport === 'poll', 'down to polls')
    path.refuse.clear()
    await until(() => client.state.transport === 'ws', 'up again')
    stop = true
    await publishing
    await until(() => seqs.at(-1) === sent.at(-1), 'the last event')
    expect(seqs).toEqual(sent)
    expect(resets).toEqual([])
  })

  it.each(['ws', 'sse'] as const)('delivers within 15 s of a silent cut of %s', async (transport) => {
    const { client, seqs } = connect(path.url, { transports: [transport], user: `frozen-${transport}` })
    await client.ready()
    path.freeze()
    const seq = await gateway.publish(`user:frozen-${transport}`, 'into the void')
    const ms = await until(() => seqs.includes(seq), 'the event', 15 * SECOND)
    expect(ms).toBeLessThan(15 * SECOND)
  })
})

describe('the gateway has its say', () => {
  it('ends a session by an operator: the client stops', async () => {
    for (const transport of TRANSPORTS) {
      const { client } = connect(path.url, { transports: [transport], user: `out-${transport}` })
      await client.ready()
      while (!(await gateway.disconnect(`out-${transport}`))) await sleep(10)
      await until(() => client.state.phase === 'closed', `${transport} stops`)
      expect(client.state.error?.fatal).toBe(true)
    }
  })

  it('goes on with the topics that the token allows, and says which it does not', async () => {
    for (const transport of TRANSPORTS) {
      const user = `part-${transport}`
      const token = tokenOf({ sub: user, subscribe: ['room:a'] })
      const { client } = connect(path.url, { transports: [transport], getToken: () => token })
      const heard: unknown[] = []
      const refused: unknown[] = []
      client.room('a').onAny(({ data }) => heard.push(data))
      client.room('b').onAny(() => {})
      client.room('b').onRefused((refusal) => refused.push(refusal))
      await client.ready()
      await until(() => refused.length > 0, `${transport} is told`)
      await gateway.publish('room:a', 'said', 'hi')
      await until(() => heard.length > 0, `${transport} hears the other`)
      path.cut()
      await until(() => client.state.transport === transport, `${transport} is back`)
      expect(refused).toEqual([{ topic: 'room:b', code: 'forbidden' }])
      expect(client.state.phase).not.toBe('closed')
    }
  })

  it('refuses a malformed cursor for good', async () => {
    for (const transport of TRANSPORTS) {
      const { client } = connect(path.url, { transports: [transport], after: 'nonsense' })
      await until(() => client.state.phase === 'closed', `${transport} stops`)
      expect(client.state.error).toMatchObject({ fatal: true })
    }
  })

  it('says that events may be missing when they are', async () => {
    for (const transport of TRANSPORTS) {
      const topic = `user:late-${transport}`
      const early = connect(path.url, { transports: [transport], user: `late-${transport}` })
      await early.client.ready()
      const { cursor } = early.client.state
      early.client.close()
      for (let index = 0; index < 300; index += 1) await gateway.publish(topic, 'tick', index)
      const { seqs, resets } = connect(path.url, {
        transports: [transport],
        user: `late-${transport}`,
        after: cursor ?? '',
      })
      await until(() => seqs.length === 256, 'what the ring holds')
      expect(resets).toMatchObject([{ reason: 'expired', topics: [topic] }])
    }
  })
})

describe('a restart', () => {
  const crowd = (url: string) => Array.from({ length: CROWD }, (_, index) => connect(url, { user: `u${index}` }))
  const on = (clients: ReturnType<typeof crowd>, transport: Transport) =>
    clients.filter(({ client }) => client.state.transport === transport).length

  it('tells every client to fetch anew, and all are back on WebSocket within a minute', async () => {
    let own = await Gateway.start()
    const clients = crowd(own.url)
    await until(() => on(clients, 'ws') === CROWD, 'all on WebSocket')
    await own.stop('SIGTERM')
    own = await Gateway.start([], new URL(own.url).host)
    const told = (): boolean => clients.every(({ resets }) => resets.length > 0)
    await until(() => told() && on(clients, 'ws') === CROWD, 'all back', 60 * SECOND)
    expect(clients.every(({ resets }) => resets.length === 1 && resets[0]?.reason === 'epoch')).toBe(true)
    await own.stop()
  })

  it('leaves no client on polls a minute later, even if polls alone got through at first', async () => {
    let own = await Gateway.start()
    const way = await new Path(own.url).open()
    const clients = crowd(way.url)
    await until(() => on(clients, 'ws') === CROWD, 'all on WebSocket')
    way.refuse.add('ws')
    way.refuse.add('sse')
    await own.stop()
    own = await Gateway.start([], new URL(own.url).host)
    await until(() => on(clients, 'poll') > 0.8 * CROWD, 'most on polls')
    way.refuse.clear()
    await until(() => on(clients, 'ws') === CROWD, 'all back', 60 * SECOND)
    way.close()
    await own.stop()
  })
})
