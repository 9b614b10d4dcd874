import type { CommandError } from './commands.js'
import type { Refusal } from './protocol.js'

/** What is needed of the connection to tell of refused topics. */
export interface RefusalsHost {
  /** Topics that this session cannot have, with the reason. */
  readonly refused: Map<string, string>
  readonly events: { refused(refusal: Refusal): void }
  /** A refusal that does not end the connection. */
  fault(message: string): void
}

/** Keeps the list of the topics that this session cannot have, and tells of new ones. */
export function createRefusals({ refused, events, fault }: RefusalsHost) {
  function refuse(topic: string, { code, message }: Pick<CommandError, 'code' | 'message'>): void {
    const known = refused.get(topic) === code
    refused.set(topic, code)
    if (known) return
    events.refused({ topic, code })
    if (message) fault(`${topic}: ${message}`)
  }

  return {
    refuse,

    /** Takes the whole list that the gateway gives. */
    heed(now: readonly Refusal[] = []): void {
      for (const topic of refused.keys()) if (!now.some((refusal) => refusal.topic === topic)) refused.delete(topic)
      for (const { topic, code } of now) refuse(topic, { code, message: '' })
    },
  }
}
