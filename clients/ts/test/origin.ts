/** The locks and channels of one origin, and tabs that live as pages of a browser do. */
import type { ChannelLike, Client, ClientOptions, Env, LocksLike } from '@throughline/client'
import { FakePage, type FakeServer } from '@throughline/client/testing'
import { vi } from 'vitest'
import { connectTo } from './harness.js'

/** What a browser does to a page that is left and may be gone back to. */
export type Browser =
  /** Keeps it, and drops it at the first message on one of its channels. */
  | 'chromium'
  /** Keeps it, takes its locks, and tells so when it is shown again. */
  | 'webkit'
  /** Never keeps one that held a lock or a connection: going back loads it anew. */
  | 'firefox'

interface Request {
  readonly name: string
  readonly tab: Tab
  readonly grant: () => Promise<unknown>
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

export class Origin {
  private readonly held = new Map<string, Request>()
  private queue: Request[] = []
  readonly channels = new Set<{ name: string; tab: Tab; channel: ChannelLike }>()

  constructor(readonly browser: Browser = 'chromium') {}

  locksOf(tab: Tab): LocksLike {
    return {
      request: (name, options, grant) =>
        new Promise((resolve, reject) => {
          if (tab.dead) return
          if ('ifAvailable' in options && this.held.has(name)) return void grant(null).then(resolve)
          const request: Request = { name, tab, grant: () => grant({ name }), resolve, reject }
          if ('signal' in options)
            options.signal.addEventListener('abort', () => {
              if (!this.queue.includes(request)) return
              this.queue = this.queue.filter((other) => other !== request)
              reject(new Error('aborted'))
            })
          this.queue.push(request)
          this.next(name)
        }),
    }
  }

  channelOf(tab: Tab): (name: string) => ChannelLike {
    return (name) => {
      const channel: ChannelLike = {
        onmessage: null,
        postMessage: (message) => {
          const data = structuredClone(message)
          for (const other of this.channels) {
            if (other.name !== name || other === entry) continue
            if (other.tab.kept && this.browser === 'chromium') other.tab.crash()
            else queueMicrotask(() => other.tab.gate(() => other.channel.onmessage?.({ data })))
          }
        },
        close: () => this.channels.delete(entry),
      }
      const entry = { name, tab, channel }
      if (!tab.dead) this.channels.add(entry)
      return channel
    }
  }

  /** Everything of a page that is gone. */
  release(tab: Tab): void {
    this.queue = this.queue.filter((request) => request.tab !== tab)
    for (const entry of this.channels) if (entry.tab === tab) this.channels.delete(entry)
    for (const [name, request] of this.held) if (request.tab === tab) this.free(name)
  }

  /** Takes a page's locks away, as WebKit does; the page hears of it when it runs again. */
  take(tab: Tab): void {
    for (const [name, { reject, tab: holder }] of this.held) {
      if (holder !== tab) continue
      tab.gate(() => reject(new Error('AbortError')))
      this.free(name)
    }
  }

  private free(name: string): void {
    this.held.delete(name)
    this.next(name)
  }

  private next(name: string): void {
    // A page that does not run cannot be given a lock, and does not hold up those behind it for
    // ever.
    const request = this.queue.find((each) => each.name === name)
    if (!request || this.held.has(name)) return
    this.queue = this.queue.filter((other) => other !== request)
    this.held.set(name, request)
    const grant = (): unknown =>
      request.grant().then((value) => {
        request.resolve(value)
        if (this.held.get(name) === request) this.free(name)
      })
    queueMicrotask(() => request.tab.gate(grant))
  }
}

/** A page with a client: it can be hidden, frozen, left and gone back to, closed and killed. */
export class Tab {
  readonly page = new FakePage()
  /** In the back/forward cache. */
  kept = false
  dead = false
  client!: Client
  seqs!: number[]
  events!: ReturnType<typeof connectTo>['events']
  resets!: ReturnType<typeof connectTo>['resets']
  private frozen = false
  private waiting: (() => void)[] = []
  private readonly ends = new Set<() => void>()
  private readonly sockets: { readonly readyState: number }[] = []
  private readonly held = new Set<unknown>()

  constructor(
    readonly server: FakeServer,
    readonly origin: Origin,
    options: ClientOptions = {},
  ) {
    Object.assign(this, connectTo(server, { share: 'tabs', ...options, env: { ...this.env(), ...options.env } }))
  }

  /** Runs in this page: now, or when it runs again, or never. */
  gate(run: () => unknown): void {
    if (this.dead) return
    if (this.frozen) this.waiting.push(run)
    else run()
  }

  get running(): boolean {
    return !this.dead && !this.frozen
  }

  /**
   * It holds a WebSocket, an event stream or a poll; changing from one to the next it may hold two.
   */
  get isConnected(): boolean {
    return !this.dead && (this.held.size > 0 || this.sockets.some(({ readyState }) => readyState < 2))
  }

  freeze(): void {
    this.frozen = true
  }

  resume(): void {
    if (this.dead) return
    this.frozen = false
    for (const run of this.waiting.splice(0)) this.gate(run)
    this.page.signal('wake')
  }

  show(visible: boolean): void {
    if (this.running) this.page.signal(visible ? 'visible' : 'hidden')
  }

  /** Leaves for another page. */
  leave(): void {
    if (!this.running) return
    this.page.signal('hidden')
    this.page.signal('pagehide')
    if (this.origin.browser === 'firefox') return this.crash()
    this.kept = true
    this.freeze()
    if (this.origin.browser === 'webkit') this.origin.take(this)
  }

  /** Back again. @returns false where the page is gone and has to be loaded anew. */
  back(): boolean {
    if (this.dead) return false
    if (!this.kept) return true
    this.kept = false
    this.page.signal('visible')
    this.resume()
    return true
  }

  /** The process is gone, without a word. */
  crash(): void {
    this.dead = true
    for (const end of this.ends) end()
    this.origin.release(this)
  }

  private env(): Partial<Env> {
    const { server, origin, ends } = this
    const tab = this
    const { clock } = server
    const gate = (run: () => unknown): void => this.gate(run)
    const Socket = server.env.WebSocket as NonNullable<Env['WebSocket']>
    return {
      page: this.page,
      locks: origin.locksOf(this),
      channel: origin.channelOf(this),
      setTimeout: (run, ms) => clock.setTimeout(() => gate(run), ms),
      fetch: async (url, init) => {
        const abort = new AbortController()
        if (tab.dead) abort.abort()
        init.signal?.addEventListener('abort', () => abort.abort())
        ends.add(() => abort.abort())
        const answer = (server.env.fetch as Env['fetch'])(url, { ...init, signal: abort.signal })
        const isHeld = /\/v1\/(sse|poll)/.test(url) && new URL(url).searchParams.get('wait') !== '0'
        if (isHeld) tab.held.add(answer)
        const over = (): unknown => tab.held.delete(answer)
        abort.signal.addEventListener('abort', over)
        answer.then(({ body }) => body || over(), over)
        return new Promise<Response>((resolve, reject) => {
          answer.then(
            (response) => gate(() => resolve(response)),
            (error) => gate(() => reject(error)),
          )
        })
      },
      WebSocket: class extends Socket {
        constructor(url: string, protocols: string[]) {
          super(url, protocols)
          tab.sockets.push(this)
          // What a page had begun before its process ended.
          if (tab.dead) this.close()
          ends.add(() => this.close())
          for (const name of ['onopen', 'onmessage', 'onclose', 'onerror'] as const) {
            let hear: ((event: never) => void) | null = null
            Object.defineProperty(this, name, {
              set: (next: typeof hear) => {
                hear = next
              },
              get: () => hear && ((event: never) => gate(() => hear?.(event))),
            })
          }
        }
      },
    }
  }
}

/**
 * Lets what the client loads by need arrive: that takes real time, and none of the fake clock's.
 */
export async function loaded(server: FakeServer): Promise<void> {
  for (let turn = 0; turn < 4; turn += 1) {
    await server.clock.advance(turn)
    await vi.dynamicImportSettled()
  }
}

/** A token of this user, as a backend would sign it; more claims as given. */
export function tokenOf(user: string, claims: object = {}): string {
  const part = (value: object): string =>
    btoa(JSON.stringify(value)).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')
  return `${part({ alg: 'none' })}.${part({ sub: user, jti: Math.random(), ...claims })}.x`
}

/** The user of such a token. */
export function holderOf(token: string | null, visitor = 'test'): string {
  return token ? (JSON.parse(atob(token.split('.')[1] as string)) as { sub: string }).sub : visitor
}
