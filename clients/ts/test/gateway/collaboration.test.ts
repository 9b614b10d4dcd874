import type { Transport } from '@throughline/client'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { type DocumentView, openDocument } from '../../src/react/document.js'
import type { Operation } from '../../src/react/operations.js'
import { connectTo, Gateway, sleep, until } from './gateway.js'

const ROUNDS = 10

let gateway: Gateway
let people: Person[] = []
beforeAll(async () => {
  gateway = await Gateway.start(['--commands-per-minute', '100000'])
})
afterEach(() => {
  for (const { client } of people) client.close()
  people = []
})
afterAll(() => gateway?.stop())

const apply = (text: string, operation: Operation): string => {
  const {
    type,
    position,
    content = '',
    length = 0,
  } = operation as { type: string; position: number; content?: string; length?: number }
  return text.slice(0, position) + content + text.slice(position + (type === 'delete' ? length : 0))
}

/** Someone who opens a document of which nothing is there yet. */
class Person {
  text = ''
  view: DocumentView = { operations: [], cursors: {}, pendingCount: 0, error: null }
  readonly client
  readonly document

  constructor(room: string, transport: Transport, name = `writer-${transport}`) {
    this.client = connectTo(gateway.url, { user: name, transports: [transport] }).client
    let applied = this.view.operations
    const update = (change: (view: DocumentView) => DocumentView): void => {
      this.view = change(this.view)
      if (this.view.operations === applied) return
      applied = this.view.operations
      for (const operation of applied) this.text = apply(this.text, operation)
    }
    this.document = openDocument(this.client, room, update, () => applied)
    this.document.open()
    people.push(this)
  }

  type(operation: Operation): void {
    this.text = apply(this.text, operation)
    this.document.send(operation)
  }
}

async function untilOneText(): Promise<void> {
  await until(() => people.every(({ view }) => view.pendingCount === 0), 'every operation is in the log')
  await until(() => new Set(people.map(({ text }) => text)).size === 1, 'one text')
  expect(people.map(({ view }) => view.error)).toEqual(people.map(() => null))
}

it('two who open an empty document and type at once end with the same text', async () => {
  for (const transport of ['ws', 'sse', 'poll'] as const) {
    const room = `room:empty-${transport}`
    const writers = [new Person(room, 'ws', 'alice'), new Person(room, transport, 'bob')]
    writers[0]?.type({ type: 'insert', position: 0, content: 'hello' })
    writers[1]?.type({ type: 'insert', position: 0, content: 'AA!' })
    await untilOneText()
    expect(writers[0]?.text).toHaveLength('helloAA!'.length)
    for (const { client } of people) client.close()
    people = []
  }
})

it('three people type at once over three transports, and end with the same text; so does a late comer', async () => {
  const writers = (['ws', 'sse', 'poll'] as const).map((transport) => new Person('room:shared', transport))
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const person of writers) {
      const position = (round * 7) % (person.text.length + 1)
      person.type(
        round % 3 === 2
          ? { type: 'delete', position, length: Math.min(2, person.text.length - position) }
          : { type: 'insert', position, content: `${round}` },
      )
    }
    await sleep(20)
  }
  await untilOneText()
  // More was typed than could be deleted.
  expect(writers[0]?.text).not.toBe('')
  new Person('room:shared', 'sse', 'late')
  await untilOneText()
})
