/** Why a token is asked for. */
export type TokenReason = 'connect' | 'expiring' | 'refused'

/** Supplies a token; null: connect without one (a cookie, or a development gateway). */
export type GetToken = (request: { reason: TokenReason; signal: AbortSignal }) => Promise<string | null> | string | null

/** Keeps the current token. Any number of callers share one call of `getToken`. */
export function createTokens(source: GetToken | undefined) {
  let flight: Promise<void> | undefined
  let abort = new AbortController()

  const tokens = {
    current: null as string | null,
    /** What the next `get` has to ask for; null: the current token is good. */
    wanted: (source ? 'connect' : null) as TokenReason | null,

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

  async function ask(): Promise<void> {
    const reason = tokens.wanted
    if (!reason) return
    tokens.current = (await source?.({ reason, signal: abort.signal })) ?? null
    tokens.wanted = null
  }

  return tokens
}
