import type { Carrier } from './carrier.js'
import { type Command, result, unheard } from './commands.js'
import type { Env } from './env.js'
import type { Reply } from './protocol.js'
import { REPLY_MS } from './timing.js'

/** Commands that may wait for a reply on one link. */
const WAITING_MAX = 1000

/** Sends commands over links that take them, and waits for their replies. */
export function createInBand(env: Pick<Env, 'setTimeout' | 'clearTimeout'>) {
  let count = 0

  /** @throws CommandError */
  return async ({ link, waiting }: Carrier, command: Command): Promise<unknown> => {
    count += 1
    const id = `${count}`
    let late: unknown
    const answer = new Promise<Reply>((resolve) => {
      if (waiting.size >= WAITING_MAX) throw 'too many'
      waiting.set(id, resolve)
      late = env.setTimeout(() => resolve(unheard('no reply')), REPLY_MS)
      link.send?.(JSON.stringify({ id, ...command }))
    })
    const reply = await answer.catch((error) => unheard(`${error}`))
    waiting.delete(id)
    env.clearTimeout(late)
    return result(reply)
  }
}
