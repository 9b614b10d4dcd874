import type { Carrier } from './carrier.js'
import type { CommandError } from './commands.js'
import type { Ladder } from './ladder.js'
import type { ClientOptions } from './options.js'
import type { Tokens } from './token.js'
import type { Wishes } from './wishes.js'

/** What the renewal of a token needs of the connection. */
export interface RenewalHost {
  readonly options: Pick<ClientOptions, 'getToken'>
  readonly ladder: Ladder
  readonly tokens: Tokens
  readonly wishes: Wishes
  /** Topics that this session cannot have, with the reason. */
  readonly refused: Map<string, string>
  dispatch(input: () => void): void
  ask(carrier: Carrier, command: { op: string; token: string | null }): Promise<unknown>
  /** A refusal that does not end the connection. */
  fault(message: string): void
}

/**
 * Renews the token before it ends: in band on WebSocket, through a new stream on SSE; a poll takes
 * it along.
 * @param renewed the session has another grant: what the gateway has is no longer known.
 */
export function createRenewal(host: RenewalHost, renewed: () => void): () => void {
  const { ladder, tokens, wishes, refused, dispatch, ask, fault } = host

  function authenticate(carrier: Carrier): void {
    ask(carrier, { op: 'auth', token: tokens.current }).then(
      () => {
        // The new grant may allow less, and the gateway has taken that away; or more. What it has
        // is asked for again.
        if (wishes.topics().length) carrier.topics = []
        for (const [topic, code] of refused) if (code === 'forbidden') refused.delete(topic)
        renewed()
      },
      ({ code, message }: CommandError) => code !== 'unavailable' && fault(`auth: ${message}`),
    )
  }

  return () => {
    if (!host.options.getToken) return
    tokens.want('expiring')
    tokens.get().then(
      () => {
        const { carrier } = ladder.writer ?? {}
        if (carrier?.link.send) authenticate(carrier)
        else if (carrier && !carrier.link.again) dispatch(ladder.reopen)
      },
      () => {}, // The gateway will end the session, and then the token is asked for again.
    )
  }
}
