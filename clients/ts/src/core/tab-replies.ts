import type { Connection } from './connection.js'
import type { Reply } from './protocol.js'

/** Questions that a tab has put to the leader, by name, each with a bounded wait. */
export function createReplies({ env, replyMs, result, unheard }: Connection, tab: string) {
  const waiting = new Map<string, (reply: Reply) => void>()
  let count = 0

  return {
    /** @param ask sends it under this name. @throws CommandError */
    async ask(ask: (name: string) => void): Promise<unknown> {
      count += 1
      const name = `${tab}-${count}`
      const answer = new Promise<Reply>((resolve) => {
        const late = env.setTimeout(() => settle(unheard('no reply')), replyMs)
        const settle = (reply: Reply): void => {
          waiting.delete(name)
          env.clearTimeout(late)
          resolve(reply)
        }
        waiting.set(name, settle)
      })
      ask(name)
      return result(await answer)
    },

    take: (name: string, reply: Reply): void => waiting.get(name)?.(reply),
  }
}
