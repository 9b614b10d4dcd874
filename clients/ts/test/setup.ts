/** Loads what the client loads when it is needed: afterwards that takes no time that a fake clock would miss. */
import { createClient } from '@throughline/client'
import { FakeServer } from '@throughline/client/testing'
import { beforeAll, vi } from 'vitest'

beforeAll(async () => {
  const server = new FakeServer()
  const client = createClient({ env: server.env, share: 'tabs' })
  client.connect()
  await vi.dynamicImportSettled()
  await server.clock.advance(1000)
  client.room('a').subscribe()
  await server.clock.advance(0)
  await vi.dynamicImportSettled()
  client.close()
})
