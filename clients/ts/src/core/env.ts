/** The part of the WebSocket interface that is used. */
export interface SocketLike {
  readonly readyState: number
  onopen: ((event: never) => void) | null
  onmessage: ((event: never) => void) | null
  onclose: ((event: never) => void) | null
  onerror: ((event: never) => void) | null
  send(text: string): void
  close(code?: number, reason?: string): void
}

/** The part of a Web Storage area that is used; every call may throw. */
export interface StorageLike {
  getItem(key: string): string | null
  setItem(key: string, value: string): void
}

/** The part of BroadcastChannel that is used. */
export interface ChannelLike {
  onmessage: ((event: { data: unknown }) => void) | null
  postMessage(message: unknown): void
  close(): void
}

/** The part of Web Locks that is used: the lock is held until the promise settles. */
export interface LocksLike {
  /** @param granted gets null where `ifAvailable` is set and another holds the lock. */
  request(
    name: string,
    options: { signal: AbortSignal } | { ifAvailable: true },
    granted: (lock: unknown) => Promise<void>,
  ): Promise<unknown>
}

/** What happened to the page. */
export type PageSignal =
  | 'hidden'
  | 'visible' // visible again
  | 'wake' // focus, resume, pageshow: look whether the link still lives
  | 'online'
  | 'offline'
  | 'network' // another network, perhaps with other obstacles
  | 'pagehide'

/** Where the page stands and what happens to it. */
export interface PageLike {
  visible(): boolean
  online(): boolean
  /** Calls back on every signal until the returned function is called. */
  listen(signal: (signal: PageSignal) => void): () => void
}

/** Everything that the client takes from its surroundings; replace any of it in tests. */
export interface Env {
  /** Milliseconds; may jump forward while the machine sleeps. */
  now(): number
  random(): number
  setTimeout(run: () => void, ms: number): unknown
  clearTimeout(timer: unknown): void
  readonly WebSocket: (new (url: string, protocols: string[]) => SocketLike) | undefined
  fetch(url: string, init: RequestInit): Promise<Response>
  /** Reading it may throw, as may every call. */
  readonly storage: StorageLike | null
  readonly page: PageLike
  /**
   * For shared tabs, and to count the requests that an origin's pages hold. Default: the page's, if
   * it has them.
   */
  readonly locks: LocksLike | undefined
  /**
   * True where many requests to this address share one connection. Default: where the browser saw
   * HTTP/2 or HTTP/3.
   */
  readonly multiplexes?: (address: string) => boolean
  /** For shared tabs; left out: the runtime's, if it has them. */
  readonly channel?: ((name: string) => ChannelLike) | undefined
  /** Relative addresses are resolved against it. */
  readonly origin: string | undefined
}

type Global = Partial<Pick<Window & typeof globalThis, 'document' | 'navigator' | 'location' | 'WebSocket'>>

/**
 * What this runtime offers. Looks at globals when called, never when imported. Its page listens to
 * events that do not disturb the back/forward cache; `unload` is not among them.
 */
export function runtimeEnv(overrides: Partial<Env> = {}): Env {
  const { document, navigator, WebSocket, location } = globalThis as Global
  const visible = (): boolean => document?.visibilityState !== 'hidden'

  function listen(signal: (signal: PageSignal) => void): () => void {
    const ended = new AbortController()
    const tell = ({ type }: Event): void => {
      const signals: Record<string, string> = {
        visibilitychange: visible() ? 'visible' : 'hidden',
        resume: 'wake',
        focus: 'wake',
        pageshow: 'wake',
        change: 'network',
      }
      signal((signals[type] ?? type) as PageSignal)
    }
    const hear = (target: EventTarget | undefined, ...types: string[]): void => {
      for (const type of types) target?.addEventListener(type, tell, ended)
    }
    if (document) {
      hear(document, 'visibilitychange', 'resume')
      hear(window, 'focus', 'pageshow', 'online', 'offline', 'pagehide')
      hear((navigator as { connection?: EventTarget }).connection, 'change')
    }
    return () => ended.abort()
  }

  return {
    now: Date.now,
    random: Math.random,
    setTimeout: (run, ms) => setTimeout(run, ms),
    clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
    WebSocket: WebSocket as Env['WebSocket'],
    fetch: (url, init) => fetch(url, init),
    // Reading it throws where storage is forbidden.
    get storage() {
      return document ? localStorage : null
    },
    page: { visible, online: () => navigator?.onLine !== false, listen },
    locks: document && navigator?.locks,
    origin: location?.origin,
    ...overrides,
  }
}
