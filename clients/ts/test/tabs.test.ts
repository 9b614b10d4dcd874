import type { ChannelLike, Env, LocksLike } from '@throughline/client'
import { FakePage, FakeServer, settle } from '@throughline/client/testing'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { connectTo, SECOND, upTo } from './harness.js'

/** The locks and channels of one origin. */
class Origin {
  private readonly held = new Set<string>()
  private readonly queue: { name: string; run: () => void }[] = []
  private readonly channels = new Set<{ name: string; channel: ChannelLike }>()

  readonly locks: LocksLike = {
    request: (name, { signal }, granted) =>
      new Promise((resolve, reject) => {
        const entry = {
          name,
          run: () => {
            this.held.add(name)
            granted().then((value) => {
              this.held.delete(name)
              resolve(value)
              this.next(name)
            })
          },
        }
        signal.addEventListener('abort', () => {
          const at = this.queue.indexOf(entry)
          if (at >= 0) this.queue.splice(at, 1)
          reject(new Error('aborted'))
        })
        this.queue.push(entry)
        this.next(name)
      }),
  }

  readonly channel = (name: string): ChannelLike => {
    const channel: ChannelLike = {
      onmessage: null,
      postMessage: (message) => {
        const data = structuredClone(message)
        for (const other of this.channels) {
          if (other.name === name && other !== entry) queueMicrotask(() => other.channel.onmessage?.({ data }))
        }
      },
      close: () => this.channels.delete(entry),
    }
    const entry = { name, channel }
    this.channels.add(entry)
    return channel
  }

  private next(name: string): void {
    const at = this.queue.findIndex((entry) => entry.name === name)
    if (at >= 0 && !this.held.has(name)) this.queue.splice(at, 1)[0]?.run()
  }
}

let server: FakeServer
let origin: Origin
beforeEach(() => {
  server = new FakeServer()
  origin = new Origin()
})

async function tab(env: Partial<Env> = {}) {
  const opened = connectTo(server, {
    share: 'tabs',
    env: { locks: origin.locks, channel: origin.channel, page: new FakePage(), ...env },
  })
  await vi.dynamicImportSettled()
  await settle()
  await server.clock.advance(2 * SECOND)
  return opened
}

describe('tabs that share', () => {
  it('open one connection, and all of them hear everything once', async () => {
    const tabs = [await tab(), await tab(), await tab()]
    expect(server.requests).toHaveLength(1)
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
    const heard: unknown[] = []
    second.client.room('a').onAny(({ data }) => heard.push(data))
    await server.clock.advance(2 * SECOND)
    await expect(
      Promise.race([second.client.room('a').publish('said', 'hi'), server.clock.advance(SECOND)]),
    ).resolves.toEqual({ cursor: 'e1.1', seq: 1 })
    server.publish('room:a', 'said', 'hello')
    await server.clock.advance(SECOND)
    expect(heard).toEqual(['hi', 'hello'])
    expect(server.commands).toContainEqual(expect.objectContaining({ op: 'publish', topic: 'room:a' }))
    expect(server.open.ws).toBe(1)
    expect(first.client.state.transport).toBe('ws')
  })

  it('connect by themselves when they are looked at and hear nothing', async () => {
    await tab()
    const frozen: Partial<Env> = { channel: () => ({ onmessage: null, postMessage() {}, close() {} }) }
    const { client, seqs } = await tab(frozen)
    expect(server.open.ws).toBe(1)
    await server.clock.advance(3 * SECOND)
    expect(client.state.transport).toBe('ws')
    expect(server.open.ws).toBe(2)
    server.publish('user:test', 'tick')
    await server.clock.advance(SECOND)
    expect(seqs).toEqual([1])
  })

  it('have a connection each where there are no locks', async () => {
    await tab({ locks: undefined })
    await tab({ locks: undefined })
    expect(server.open.ws).toBe(2)
  })
})
