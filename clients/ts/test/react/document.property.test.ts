import { type Client, CommandError, type ThroughlineEvent } from '@throughline/client'
import { settle } from '@throughline/client/testing'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type DocumentView, openDocument } from '../../src/react/document.js'
import type { Operation } from '../../src/react/operations.js'

const START = 'The quick brown fox'

function apply(text: string, operation: Operation): string {
  const { position } = operation as { position: number }
  if (operation.type === 'insert') return text.slice(0, position) + operation.content + text.slice(position)
  return text.slice(0, position) + text.slice(position + (operation as { length: number }).length)
}

/** One log with `expect`, as the gateway keeps it. */
class Log {
  readonly events: ThroughlineEvent[] = []

  publish(type: string, data: unknown, { expect, eventId }: { expect?: number; eventId?: string }): { seq: number } {
    const last = this.events.length
    if (expect !== undefined && expect !== last)
      throw new CommandError({ code: 'conflict', message: 'somebody was faster', seq: last })
    const event = { seq: last + 1, topic: 'room:1', type, time: '', data, id: eventId }
    this.events.push(event)
    return { seq: last + 1 }
  }
}

/** Someone who types. */
class Writer {
  text = START
  heard = 0
  private view: DocumentView = { operations: [], cursors: {}, pendingCount: 0 }
  readonly document

  private take = (_: ThroughlineEvent): void => {}

  constructor(
    private readonly log: Log,
    user: string,
  ) {
    const topic = {
      publish: async (type: string, data: unknown, more: object) => log.publish(type, data, more),
      cast: async () => {},
      onAny: (take: (event: ThroughlineEvent) => void) => {
        this.take = take
        return () => {}
      },
    }
    const client = { hello: { user }, topic: () => topic } as unknown as Client
    this.document = openDocument(
      client,
      'room:1',
      (change) => {
        const before = this.view.operations
        this.view = change(this.view)
        if (this.view.operations === before) return
        for (const operation of this.view.operations) this.text = apply(this.text, operation)
      },
      () => this.view.operations,
    )
    this.document.open()
  }

  type(at: number, size: number, insert: boolean, letter: string): void {
    const position = Math.floor(at * (this.text.length + 1))
    const operation: Operation = insert
      ? { type: 'insert', position, content: letter.repeat(size) }
      : { type: 'delete', position, length: Math.min(size, this.text.length - position) }
    this.text = apply(this.text, operation)
    this.document.send(operation)
  }

  hear(): boolean {
    const event = this.log.events[this.heard]
    if (!event) return false
    this.heard += 1
    this.take(event as ThroughlineEvent)
    return true
  }
}

describe('people who edit one text', () => {
  it('all end with the same text, whatever the delays', async () => {
    const who = fc.integer({ min: 0, max: 2 })
    const act = fc.oneof(
      fc.record({ who, hear: fc.constant(true as const) }),
      fc.record({
        who,
        at: fc.double({ min: 0, max: 0.999, noNaN: true }),
        size: fc.integer({ min: 1, max: 5 }),
        insert: fc.boolean(),
      }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 40 }), async (acts) => {
        const log = new Log()
        log.publish('opened', null, {})
        const writers = ['a', 'b', 'c'].map((user) => new Writer(log, user))
        for (const writer of writers) writer.hear()
        for (const step of acts) {
          const writer = writers[step.who] as Writer
          if ('hear' in step) writer.hear()
          else writer.type(step.at, step.size, step.insert, 'abc'[step.who] as string)
          await settle()
        }
        for (let quiet = 0; quiet < 3; ) {
          const moved = writers.map((writer) => writer.hear()).some(Boolean)
          await settle()
          quiet = moved ? 0 : quiet + 1
        }
        expect(writers.map(({ text }) => text)).toEqual(Array(3).fill(writers[0]?.text))
      }),
      { numRuns: Number(process.env.PROPERTY_RUNS ?? 500) },
    )
  }, 120_000)
})
