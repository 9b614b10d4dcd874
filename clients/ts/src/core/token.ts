import type { Env } from './env.js'
import { TOKEN_MS } from './timing.js'

/** Why a token is asked for. */
export type TokenReason = 'connect' | 'expiring' | 'refused'

/**
 * Supplies a token; null: connect without one (a cookie, or a development gateway). A call that has
 * not answered within 10 s is aborted, and the next attempt calls again.
 */
export type GetToken = (request: { reason: TokenReason; signal: AbortSignal }) => Promise<string | null> | string | null

/**
 * Keeps the current token. Any number of callers share one call of `getToken`. An answer belongs to
 * the call that asked for it: the answer to a cancelled call is dropped, however late it comes.
 */
// Its inner functions share the state of one source of tokens.
export function createTokens(source: GetToken | undefined, env: Pick<Env, 'setTimeout' | 'clearTimeout'>) {
  let flight: Promise<void> | undefined
  let abort = new AbortController()
  let wanted: TokenReason | null = 'connect'

  /**
   * Asks until nothing is wanted: a token may be refused while another call for one is under way.
   */
  async function fly(own: AbortController): Promise<void> {
    const { signal } = own
    while (wanted) {
      const reason = wanted
      wanted = null
      const timer = env.setTimeout(() => own.abort(new Error('getToken is late')), TOKEN_MS)
      try {
        const ended = (_: unknown, reject: (reason: unknown) => void): void => {
          signal.onabort = () => reject(signal.reason)
        }
        const token = await Promise.race([source?.({ reason, signal }), new Promise<never>(ended)])
        if (signal.aborted) throw signal.reason
        // Tokens out of files and commands end in a line break, which a subprotocol cannot hold.
        tokens.current = token?.trim() ?? null
      } catch (error) {
        // Of a call that was cancelled nothing is left.
        if (abort === own) wanted ??= reason
        throw error
      } finally {
        env.clearTimeout(timer)
      }
    }
  }

  const tokens = {
    current: null as string | null,

    /** The next `get` has to ask for a new one. */
    want(reason: TokenReason): void {
      wanted = reason
    },

    /** Asks the application if that is needed. */
    get(): Promise<void> {
      if (!flight) {
        abort = new AbortController()
        const own = fly(abort).finally(() => {
          if (flight === own) flight = undefined
        })
        flight = own
      }
      return flight
    },

    /** Ends a call that is under way; its callers get an error. */
    cancel(): void {
      flight = undefined
      abort.abort()
    },
  }

  return tokens
}

/** What {@link createTokens} makes. */
export type Tokens = ReturnType<typeof createTokens>
