import type { Reply, ReplyError } from './protocol.js'

/** A command without its id. */
export interface Command {
  readonly op: string
  readonly [member: string]: unknown
}

/** A command was refused, or its fate is unknown (`unavailable`). */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  /** One of the codes of PROTOCOL.md section E. */
  declare readonly code: string
  /** How long to wait, with `rate_limited`. */
  declare readonly retryAfterMs?: number
  /** With `conflict`: the seq of the topic's last event. */
  declare readonly seq?: number

  constructor({ code, message, retry_after_ms, seq }: ReplyError) {
    super(message)
    this.code = code
    this.retryAfterMs = retry_after_ms
    this.seq = seq
  }
}

/** What counts as the answer to a command that the gateway may or may not have heard. */
export const unheard = (message: string): Reply => ({ error: { code: 'unavailable', message } })

/** What the gateway answered. @throws CommandError */
export function result({ ok, error }: Reply): unknown {
  if (error) throw new CommandError(error)
  return ok
}
