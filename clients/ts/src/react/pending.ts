import { type Operation, transform } from './operations.js'

const PENDING_MAX = 1000

/** One own operation that the log does not have yet. */
export interface Pending {
  /** Its event's id: a repeated publish is recognized by it. */
  readonly id: string
  operation: Operation
}

/** Own operations that the log does not have yet, oldest first. */
export function createPending() {
  const list: Pending[] = []
  const nonce = Math.random().toString(36).slice(2)
  let count = 0
  return {
    get count(): number {
      return list.length
    },

    get first(): Pending | undefined {
      return list[0]
    },

    /** @throws Error when 1,000 operations wait already. */
    add(operation: Operation): void {
      if (list.length >= PENDING_MAX) throw new Error('too many operations wait to be sent')
      count += 1
      list.push({ id: `${nonce}-${count}`, operation })
    },

    /**
     * Removes the first operation if the log has it now.
     * @returns whether it was the one with this id.
     */
    settle(id: string | undefined): boolean {
      const isFirst = id !== undefined && list[0]?.id === id
      if (isFirst) list.shift()
      return isFirst
    },

    /**
     * Another person's operation, which came first: rebased over the own ones, and they over it.
     */
    rebase(theirs: Operation): Operation {
      let remote = theirs
      for (const own of list) {
        const rebased = transform(own.operation, remote, false)
        remote = transform(remote, own.operation, true)
        own.operation = rebased
      }
      return remote
    },
  }
}
