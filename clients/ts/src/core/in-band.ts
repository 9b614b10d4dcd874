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
  return ({ link, waiting }: Carrier, command: Command): Promise<unknown> => {
    count += 1
    const id = `${count}`
    const answer = new Promise<Reply>((resolve) => {
      if (waiting.size >= WAITING_MAX) return resolve({ error: unheard('too many') })
      const settle = (reply: Reply): void => {
        waiting.delete(id)
        env.clearTimeout(late)
        resolve(reply)
      }
      const late = env.setTimeout(() => settle({ error: unheard('no reply') }), REPLY_MS)
      waiting.set(id, settle)
      try {
        link.send?.(JSON.stringify({ id, ...command }))
      } catch (error) {
        settle({ error: unheard(`${error}`) })
      }
    })
    return answer.then(result)
  }
}
