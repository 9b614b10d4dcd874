/**
 * Loads what the client loads when it is needed: afterwards that takes no time that a fake clock
 * would miss.
 */
import { createClient } from '@throughline/client'
import { FakeServer } from '@throughline/client/testing'
import { beforeAll, vi } from 'vitest'

beforeAll(async () => {
  const server = new FakeServer()
  const clients = [
    createClient({ env: server.env, share: 'tabs' }),
    createClient({ env: server.env, transports: ['sse'] }),
  ]
  for (const client of clients) client.connect()
  for (let turn = 0; turn < 4; turn += 1) {
    for (const client of clients) client.room(`${turn}`).subscribe()
    await vi.dynamicImportSettled()
    await server.clock.advance(1000)
  }
  for (const client of clients) client.close()
})
