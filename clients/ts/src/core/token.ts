/** Why a token is asked for. */
export type TokenReason = 'connect' | 'expiring' | 'refused'

/** Supplies a token; null: connect without one (a cookie, or a development gateway). */
export type GetToken = (request: { reason: TokenReason; signal: AbortSignal }) => Promise<string | null> | string | null

/** Keeps the current token. Any number of callers share one call of `getToken`. */
export class Tokens {
  current: string | null = null
  private known = false
  private flight: Promise<string | null> | null = null
  private reason: TokenReason = 'connect'
  private abort = new AbortController()

  constructor(private readonly source: GetToken | undefined) {}

  get canRefresh(): boolean {
    return this.source !== undefined
  }

  /** True where `get` has to call the application. */
  get missing(): boolean {
    return this.source !== undefined && !this.known
  }

  /** The next `get` asks the application again. */
  expire(reason: TokenReason): void {
    this.known = false
    this.reason = reason
  }

  get(): Promise<string | null> {
    const source = this.source
    if (!source || this.known) return Promise.resolve(this.current)
    this.flight ??= this.fetch(source).finally(() => {
      this.flight = null
    })
    return this.flight
  }

  /** Aborts a call under way. */
  cancel(): void {
    this.abort.abort()
    this.abort = new AbortController()
  }

  private async fetch(source: GetToken): Promise<string | null> {
    const token = await source({ reason: this.reason, signal: this.abort.signal })
    this.current = token
    this.known = true
    return token
  }
}
