import type { ReplyError } from './protocol.js'

/** A command without its id. */
export interface Command {
  readonly op: string
  readonly [member: string]: unknown
}

/** A command was refused, or its fate is unknown (`unavailable`). */
export class CommandError extends Error {
  override readonly name = 'CommandError'

  constructor(
    /** One of the codes of PROTOCOL.md section E. */
    readonly code: string,
    message: string,
    /** How long to wait, with `rate_limited`. */
    readonly retryAfterMs?: number,
    /** With `conflict`: the seq of the topic's last event. */
    readonly seq?: number,
  ) {
    super(message)
  }
}

/** The error of a refusing reply. */
export const refused = ({ code, message, retry_after_ms, seq }: ReplyError): CommandError =>
  new CommandError(code, message, retry_after_ms, seq)

export const unavailable = (message: string): CommandError => new CommandError('unavailable', message)
