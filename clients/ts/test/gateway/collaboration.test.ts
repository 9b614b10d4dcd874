import { afterAll, beforeAll, expect, it } from 'vitest'
import { type DocumentView, openDocument } from '../../src/react/document.js'
import type { Operation } from '../../src/react/operations.js'
import { connectTo, Gateway, sleep, until } from './gateway.js'

let gateway: Gateway
beforeAll(async () => {
  gateway = await Gateway.start(['--commands-per-minute', '100000'])
})
afterAll(() => gateway.stop())

const apply = (text: string, operation: Operation): string => {
  const {
    type,
    position,
    content = '',
    length = 0,
  } = operation as { type: string; position: number; content?: string; length?: number }
  return text.slice(0, position) + content + text.slice(position + (type === 'delete' ? length : 0))
}

it('three people type at once over three transports, and end with the same text', async () => {
  const people = (['ws', 'sse', 'poll'] as const).map((transport) => {
    const { client } = connectTo(gateway.url, { user: `writer-${transport}`, transports: [transport] })
    const person = {
      client,
      text: 'Once upon a time',
      view: { operations: [], cursors: {}, pendingCount: 0 } as DocumentView,
    }
    const document = openDocument(
      client,
      'room:shared',
      (change) => {
        const before = person.view.operations
        person.view = change(person.view)
        if (person.view.operations === before) return
        for (const operation of person.view.operations) person.text = apply(person.text, operation)
      },
      () => person.view.operations,
    )
    document.open()
    return Object.assign(person, { document })
  })
  await Promise.all(people.map(({ client }) => client.ready()))
  await sleep(1000)
  for (let round = 0; round < 10; round += 1) {
    for (const person of people) {
      const position = (round * 7) % (person.text.length + 1)
      const operation: Operation =
        round % 3 === 2
          ? { type: 'delete', position, length: Math.min(2, person.text.length - position) }
          : { type: 'insert', position, content: `${round}` }
      person.text = apply(person.text, operation)
      person.document.send(operation)
    }
    await sleep(20)
  }
  await until(() => people.every(({ view }) => view.pendingCount === 0), 'every operation is in the log', 30_000)
  await until(() => new Set(people.map(({ text }) => text)).size === 1, 'one text', 5000)
  expect(people[0]?.text).toContain('0')
  for (const { client } of people) client.close()
})
