/** A fault in one place does not stop everything for good. */
import type { Env, SocketLike } from '@throughline/client'
import { FakeServer } from '@throughline/client/testing'
import { describe, expect, it } from 'vitest'
import type { Carrier } from '../src/core/carrier.js'
import { createUpkeep } from '../src/core/upkeep.js'
import { connectTo, SECOND } from './harness.js'

describe('a client in which something throws', () => {
  it('goes on with its next step', async () => {
    const server = new FakeServer()
    let broken = false
    const { random } = server.env as Env
    const { client, seqs } = connectTo(server, {
      env: {
        random: () => {
          if (broken) throw new Error('no chance')
          return random()
        },
      },
    })
    await server.clock.advance(20 * SECOND)
    broken = true
    expect(() => server.cut()).toThrow('no chance')
    broken = false
    client.prefer('sse')
    client.prefer(null)
    await server.clock.advance(3 * SECOND)
    server.publish('user:test', 'tick')
    await server.clock.advance(SECOND)
    expect(seqs).toEqual([1])
  })

  it('tells of a socket that cannot send as of a command that was not heard', async () => {
    const server = new FakeServer()
    const sockets: SocketLike[] = []
    const Socket = server.env.WebSocket as NonNullable<Env['WebSocket']>
    const { client } = connectTo(server, {
      transports: ['ws'],
      env: {
        WebSocket: class extends Socket {
          constructor(url: string, protocols: string[]) {
            super(url, protocols)
            sockets.push(this)
          }
        },
      },
    })
    await server.clock.advance(2 * SECOND)
    for (const socket of sockets) {
      socket.send = () => {
        throw new Error('InvalidStateError')
      }
    }
    await expect(client.room('a').publish('said', 'hi')).rejects.toMatchObject({ code: 'unavailable' })
  })

  it('gives up a topic although the reply to its command was lost', async () => {
    const server = new FakeServer()
    let wanted = ['room:a']
    const sent: unknown[] = []
    const carrier: Carrier = {
      link: { send: () => {}, close: () => {} },
      chain: { expected: null, greeted: true, history: 0, queue: [] },
      topics: [],
      waiting: new Map(),
    }
    const upkeep = createUpkeep({
      env: server.env as Env,
      wishes: { topics: () => wanted, present: () => new Map() },
      refused: new Map(),
      hello: () => null,
      ladder: { writer: { carrier } },
      async command(command) {
        sent.push(command)
        wanted = []
        if (sent.length === 1) throw Object.assign(new Error('no reply'), { code: 'unavailable' })
      },
      refuse() {},
      result() {},
      unheard: (message) => ({ error: { code: 'unavailable', message } }),
    })
    const done = upkeep.run()
    await server.clock.advance(2 * SECOND)
    await done
    expect(sent).toEqual([
      { op: 'subscribe', topics: ['room:a'] },
      { op: 'unsubscribe', topics: ['room:a'] },
    ])
  })

  it('looks again at what is not in line', async () => {
    let broken = true
    const sent: unknown[] = []
    const link = { send: () => {}, close: () => {} }
    const carrier: Carrier = {
      link,
      chain: { expected: null, greeted: true, history: 0, queue: [] },
      topics: [],
      waiting: new Map(),
    }
    const upkeep = createUpkeep({
      env: new FakeServer().env as Env,
      wishes: { topics: () => ['room:a'], present: () => new Map() },
      refused: new Map(),
      hello: () => null,
      ladder: {
        get writer() {
          if (broken) throw new Error('a bug')
          return { carrier }
        },
      },
      command: async (command) => sent.push(command),
      refuse() {},
      result() {},
      unheard: (message) => ({ error: { code: 'unavailable', message } }),
    })
    await expect(upkeep.run()).rejects.toThrow('a bug')
    broken = false
    await upkeep.run()
    expect(sent).toEqual([{ op: 'subscribe', topics: ['room:a'] }])
  })
})
