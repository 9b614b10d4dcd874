import type { Env } from './env.js'
import type { Reply, ReplyError } from './protocol.js'

/** A command without its id. */
export interface Command {
  readonly op: string
  readonly [member: string]: unknown
}

/** A command was refused, or its fate is unknown (`unavailable`). */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  /** One of the codes of PROTOCOL.md section 4. */
  readonly code: string
  readonly retryAfterMs: number | undefined
  /** With `conflict`: the seq of the topic's last event. */
  readonly seq: number | undefined

  constructor(error: ReplyError) {
    super(error.message)
    this.code = error.code
    this.retryAfterMs = error.retry_after_ms
    this.seq = error.seq
  }
}

interface Waiting {
  readonly link: number
  readonly resolve: (ok: unknown) => void
  readonly reject: (error: Error) => void
  readonly timer: unknown
}

const WAITING_MAX = 1000

export const unavailable = (message: string): CommandError => new CommandError({ code: 'unavailable', message })

/** Matches replies to commands. */
export class Replies {
  private nextId = 1
  private readonly waiting = new Map<string, Waiting>()

  constructor(
    private readonly env: Env,
    private readonly timeoutMs: number,
  ) {}

  /** Gives the command an id, sends it, and waits for the reply. */
  ask(link: number, command: Command, send: (text: string) => void): Promise<unknown> {
    if (this.waiting.size >= WAITING_MAX)
      return Promise.reject(unavailable('too many commands are waiting for a reply'))
    const id = String(this.nextId++)
    return new Promise((resolve, reject) => {
      const timer = this.env.setTimeout(() => {
        this.waiting.delete(id)
        reject(unavailable('no reply in time'))
      }, this.timeoutMs)
      this.waiting.set(id, { link, resolve, reject, timer })
      send(JSON.stringify({ id, ...command }))
    })
  }

  settle(reply: Reply): void {
    const waiting = this.waiting.get(reply.reply)
    if (!waiting) return
    this.waiting.delete(reply.reply)
    this.env.clearTimeout(waiting.timer)
    if (reply.error) waiting.reject(new CommandError(reply.error))
    else waiting.resolve(reply.ok ?? {})
  }

  /** The link is gone: its replies will not come. */
  lost(link: number): void {
    for (const [id, waiting] of this.waiting) {
      if (waiting.link === link)
        this.settle({ reply: id, error: { code: 'unavailable', message: 'the connection was lost' } })
    }
  }
}
