/** Why a token is asked for. */
export type TokenReason = 'connect' | 'expiring' | 'refused'

/** Supplies a token; null: connect without one (a cookie, or a development gateway). */
export type GetToken = (request: { reason: TokenReason; signal: AbortSignal }) => Promise<string | null> | string | null

/** Keeps the current token. Any number of callers share one call of `getToken`. */
export class Tokens {
  current: string | null = null
  /** What the next `get` has to ask for; null: the current token is good. */
  wanted: TokenReason | null
  private flight: Promise<void> | null = null
  private abort = new AbortController()

  constructor(private readonly source: GetToken | undefined) {
    this.wanted = source ? 'connect' : null
  }

  /** Asks the application if that is needed. */
  get(): Promise<void> {
    this.flight ??= this.fetch().finally(() => {
      this.flight = null
    })
    return this.flight
  }

  /** Aborts a call under way. */
  cancel(): void {
    this.abort.abort()
    this.abort = new AbortController()
  }

  private async fetch(): Promise<void> {
    const reason = this.wanted
    if (!reason) return
    this.current = (await this.source?.({ reason, signal: this.abort.signal })) ?? null
    this.wanted = null
  }
}
