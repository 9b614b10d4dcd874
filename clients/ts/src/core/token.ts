/** Why a token is asked for. */
export type TokenReason = 'connect' | 'expiring' | 'refused'

/** Supplies a token; null: connect without one (a cookie, or a development gateway). */
export type GetToken = (request: { reason: TokenReason; signal: AbortSignal }) => Promise<string | null> | string | null

/** Keeps the current token. Any number of callers share one call of `getToken`. */
export function createTokens(source: GetToken | undefined) {
  let flight: Promise<void> | undefined
  let abort = new AbortController()
  let wanted: TokenReason | null = 'connect'

  async function ask(): Promise<void> {
    if (!wanted) return
    tokens.current = (await source?.({ reason: wanted, signal: abort.signal })) ?? null
    wanted = null
  }

  const tokens = {
    current: null as string | null,

    /** The next `get` has to ask for a new one. */
    want(reason: TokenReason): void {
      wanted = reason
    },

    /** Asks the application if that is needed. */
    get(): Promise<void> {
      flight ??= ask().finally(() => {
        flight = undefined
      })
      return flight
    },

    /** Aborts a call under way. */
    cancel(): void {
      abort.abort()
      abort = new AbortController()
    },
  }

  return tokens
}
