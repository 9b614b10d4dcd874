import { type Client, type ClientOptions, type ClientState, createClient } from '@throughline/client'
import {
  createContext,
  createElement,
  type ReactNode,
  useContext,
  useEffect,
  useState,
  useSyncExternalStore,
} from 'react'

const Context = createContext<Client | null>(null)

/** Props of {@link ThroughlineProvider}: a client of your own, or the options of one. */
export interface ProviderProps extends ClientOptions {
  client?: Client
  children?: ReactNode
}

/** Gives the hooks below it one client. The options are read once. */
export function ThroughlineProvider({ client, children, ...options }: ProviderProps) {
  const [own] = useState(() => client ?? createClient(options))
  const current = client ?? own
  useEffect(() => current.acquire(), [current])
  return createElement(Context.Provider, { value: current }, children)
}

/** Which client a hook means where there is no provider. */
export interface Target extends Pick<ClientOptions, 'url' | 'user' | 'transports' | 'timing'> {
  token?: string | null
}

interface Shared {
  client: Client
  token: string
}

const shared = new Map<string, Partial<Shared>>()

/** The page's own client: one for each gateway, user and choice of transports. A new token takes the old one's place. */
function sharedClient({ token, ...options }: Target): Client {
  const { url, user, transports } = options
  // A token that has a user in it stands for itself; it may be renewed without a new session.
  const tokened = token !== undefined
  const key = JSON.stringify([url, user, transports, tokened])
  // Who does not say which means the one that there is.
  const any = url || user || transports || tokened ? undefined : [...shared.values()].pop()
  const entry: Partial<Shared> = shared.get(key) ?? any ?? {}
  if (token) entry.token = token
  entry.client ??= createClient({ ...options, getToken: tokened ? () => entry.token ?? null : undefined })
  // A server renders for many users: nothing may be shared between them.
  if (globalThis.document) shared.set(key, entry)
  return entry.client
}

/**
 * The provider's client, or the page's own, kept connected while the component is mounted.
 * @param enabled false: the client is there but this component does not ask it to connect.
 */
export function useClient(target: Target = {}, enabled = true): Client {
  const provided = useContext(Context)
  const client = provided ?? sharedClient(target)
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
