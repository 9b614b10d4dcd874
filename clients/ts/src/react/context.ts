import { type Client, type ClientOptions, type ClientState, createClient } from '@throughline/client'
import {
  createContext,
  createElement,
  type ReactNode,
  useContext,
  useEffect,
  useMemo,
  useSyncExternalStore,
} from 'react'

const Context = createContext<Client | null>(null)

/** Props of {@link ThroughlineProvider}: a client of your own, or the options of one. */
export interface ProviderProps extends ClientOptions {
  client?: Client
  children?: ReactNode
}

/**
 * Gives the hooks below it one client. Another `url` or `user` makes another client; other options
 * are read once.
 */
export function ThroughlineProvider({ client, children, ...options }: ProviderProps) {
  const { url, user } = options
  // biome-ignore lint/correctness/useExhaustiveDependencies: options may be written inline.
  const current = useMemo(() => client ?? createClient(options), [client, url, user])
  useEffect(() => current.acquire(), [current])
  return createElement(Context.Provider, { value: current }, children)
}

/** Which client a hook means where there is no provider. */
export interface Target extends Pick<ClientOptions, 'url' | 'user' | 'transports' | 'timing'> {
  token?: string | null
}

/** A client of the page's own. */
interface Entry {
  readonly client: Client
  token: string | null | undefined
}

/** Beyond it, the page forgets the client that it has not used for the longest time. */
const ENTRIES_MAX = 32

/** By gateway, user and choice of transports; the one used last is at the end. */
const entries = new Map<string, Entry>()
/** The entry that a component named last; components that name none use it. */
let latest: Entry | undefined
const watchers = new Set<() => void>()

function watchLatest(watcher: () => void): () => void {
  watchers.add(watcher)
  return () => void watchers.delete(watcher)
}

function nameLatest(entry: Entry): void {
  latest = entry
  for (const watcher of [...watchers]) watcher()
}

/**
 * Whose token it is: by its claims, or by the token itself if it cannot be read. Only the gateway
 * can tell whether it is genuine.
 */
function holderOf(token: string | null | undefined): unknown {
  try {
    const [, claims = ''] = `${token}`.split('.')
    const { iss, sub } = JSON.parse(atob(claims.replace(/-/g, '+').replace(/_/g, '/'))) as Record<string, unknown>
    return sub ? [iss, sub] : token
  } catch {
    return token
  }
}

const isNamed = ({ url, user, transports, token }: Target): boolean =>
  !!(url || user || transports || token !== undefined)

/** The page's own client for a target. A renewed token of the same user replaces the old one. */
function entryOf({ token, ...options }: Target): Entry {
  const { url, user, transports } = options
  const isTokened = token !== undefined
  const key = JSON.stringify([url, user, transports, isTokened, holderOf(token)])
  const create = (): Entry => {
    const getToken = isTokened ? () => entry.token ?? null : undefined
    return { client: createClient({ ...options, getToken }), token }
  }
  const entry = entries.get(key) ?? create()
  if (token) entry.token = token
  // A server renders for many users: nothing may be shared between them.
  if (!globalThis.document) return entry
  entries.delete(key)
  entries.set(key, entry)
  for (const oldest of entries.keys()) {
    if (entries.size <= ENTRIES_MAX) break
    entries.delete(oldest)
  }
  return entry
}

/** The page's own client for a component, which may name none; nothing below a provider. */
function useEntry(target: Target | null): Entry | null {
  const fallback = useSyncExternalStore(
    watchLatest,
    () => latest,
    () => undefined,
  )
  const names = target !== null && isNamed(target)
  const entry = target && ((!names && fallback) || entryOf(target))
  // Components that are rendered in the same turn find it, too.
  if (names && globalThis.document) latest ??= entry as Entry
  useEffect(() => {
    if (names) nameLatest(entry as Entry)
  }, [names, entry])
  return entry
}

/**
 * The provider's client, or the page's own, kept connected while the component is mounted.
 * @param enabled false: the client is there but this component does not ask it to connect.
 */
export function useClient(target: Target = {}, enabled = true): Client {
  const provided = useContext(Context)
  const own = useEntry(provided ? null : target)
  const client = provided ?? (own as Entry).client
  const { token } = target
  useEffect(() => {
    if (!enabled) return
    // A new token is a new chance for a client that was refused with the old one.
    if (token && client.state.error?.fatal) client.connect()
    return client.acquire()
  }, [client, enabled, token])
  return client
}

const IDLE: ClientState = {
  phase: 'idle',
  transport: null,
  isRealtime: false,
  retryCount: 0,
  nextRetryAt: null,
  latencyMs: null,
  cursor: null,
  error: null,
}

/** The client and its state; what a server renders, and a page before hydration, is idle. */
export function useLink(target?: Target, enabled?: boolean): ClientState & { client: Client } {
  const client = useClient(target, enabled)
  const state = useSyncExternalStore(
    client.subscribe,
    () => client.state,
    () => IDLE,
  )
  return { ...state, client }
}
