import type { PageSignal } from './ladder-types.js'

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
  removeItem(key: string): void
}

/** The part of BroadcastChannel that is used. */
export interface ChannelLike {
  onmessage: ((event: { data: unknown }) => void) | null
  postMessage(message: unknown): void
  close(): void
}

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
  readonly fetch: ((url: string, init: RequestInit) => Promise<Response>) | undefined
  readonly storage: StorageLike | null
  readonly locks: Pick<LockManager, 'request'> | undefined
  readonly channel: ((name: string) => ChannelLike) | undefined
  readonly page: PageLike
  /** Relative addresses are resolved against it. */
  readonly origin: string | undefined
}

type Global = Partial<
  Pick<Window & typeof globalThis, 'document' | 'navigator' | 'location' | 'WebSocket' | 'BroadcastChannel' | 'fetch'>
> &
  Partial<Pick<Window, 'addEventListener' | 'removeEventListener' | 'localStorage'>>

/** What this runtime offers. Looks at globals when called, never when imported. */
export function runtimeEnv(overrides: Partial<Env> = {}): Env {
  const scope = globalThis as Global
  const env: Env = {
    now: () => Date.now(),
    random: () => Math.random(),
    setTimeout: (run, ms) => setTimeout(run, ms),
    clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
    WebSocket: scope.WebSocket as Env['WebSocket'],
    fetch: scope.fetch ? (url, init) => fetch(url, init) : undefined,
    storage: null,
    locks: scope.navigator?.locks,
    channel: scope.BroadcastChannel ? (name) => new BroadcastChannel(name) as ChannelLike : undefined,
    page: runtimePage(scope),
    origin: scope.location?.origin,
  }
  return { ...env, ...('storage' in overrides ? {} : { storage: runtimeStorage(scope) }), ...overrides }
}

/** Reading the property itself throws where storage is forbidden. */
function runtimeStorage(scope: Global): StorageLike | null {
  try {
    return scope.document ? (scope.localStorage ?? null) : null
  } catch {
    return null
  }
}

/** Page life from events that do not disturb the back/forward cache; `unload` is not among them. */
function runtimePage(scope: Global): PageLike {
  const { document, navigator } = scope
  const connection = (navigator as { connection?: EventTarget } | undefined)?.connection
  return {
    visible: () => document?.visibilityState !== 'hidden',
    online: () => navigator?.onLine !== false,
    listen(signal) {
      const off: (() => void)[] = []
      const on = (target: EventTarget | undefined, type: string, run: () => void): void => {
        target?.addEventListener?.(type, run)
        off.push(() => target?.removeEventListener?.(type, run))
      }
      const scopeTarget = document ? (scope as unknown as EventTarget) : undefined
      on(document, 'visibilitychange', () => signal(document?.visibilityState === 'hidden' ? 'hidden' : 'visible'))
      on(document, 'resume', () => signal('wake'))
      for (const type of ['focus', 'pageshow']) on(scopeTarget, type, () => signal('wake'))
      for (const type of ['online', 'offline', 'pagehide'] as const) on(scopeTarget, type, () => signal(type))
      on(connection, 'change', () => signal('network'))
      return () => {
        for (const remove of off) remove()
      }
    },
  }
}
