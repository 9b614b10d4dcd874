import type { Connection } from './connection.js'
import type { ClientOptions } from './options.js'
import type { Hello } from './protocol.js'

/** What a token says of its holder and of what the holder may: nothing that a renewal changes. */
const CLAIMS = ['sub', 'iss', 'aud', 'subscribe', 'publish', 'scopes', 'info']

/** Who a tab is to the gateway. */
export interface Identity {
  readonly user: string
  /** The user and the grant, as a text to compare. */
  readonly text: string
}

/** Who the holder of a token is; null: the token does not say. Nothing is verified here. */
export function claimsOf(token: string | null): Identity | null {
  try {
    const base64 = token?.split('.')[1]?.replace(/-/g, '+').replace(/_/g, '/') as string
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))
    const claims = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>
    const { sub } = claims
    return sub ? { user: `${sub}`, text: JSON.stringify(CLAIMS.map((name) => claims[name])) } : null
  } catch {
    return null
  }
}

/** Who a user is whom only the gateway can name. */
export const userOf = (hello: Hello | null | undefined): Identity | null =>
  hello ? { user: hello.user, text: hello.user } : null

/**
 * Who this tab is to the gateway: by its token, or by asking where a cookie, or a token that says
 * nothing, decides.
 * @throws CommandError where neither can be had.
 */
export async function identify(connection: Connection): Promise<Identity> {
  const { tokens } = connection
  const { whose } = await connection.load()
  await tokens.get()
  return claimsOf(tokens.current) ?? (userOf(await whose()) as Identity)
}

/**
 * The name of the tabs that may share one connection: one gateway, one identity, and all options
 * that decide what the connection brings. The number is that of what the tabs send each other.
 */
export function groupOf(base: string, identity: string, options: ClientOptions): string {
  const { user, types, interval, credentials, transports } = options
  return `throughline3:${JSON.stringify([base, identity, user, types, interval, credentials, transports])}`
}
