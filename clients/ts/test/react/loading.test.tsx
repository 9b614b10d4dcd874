// @vitest-environment happy-dom
/**
 * Parts that are loaded with the first room may fail to load: after a deploy, or on a bad network.
 */

import { cleanup } from '@testing-library/react'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

let isBroken = true

beforeEach(() => {
  isBroken = true
  vi.resetModules()
  for (const part of ['rooms', 'document']) {
    vi.doMock(`../../src/react/${part}.js`, async (original) => {
      if (isBroken) throw new TypeError('error loading dynamically imported module')
      return await original()
    })
  }
})
afterEach(() => {
  cleanup()
  vi.doUnmock('../../src/react/rooms.js')
  vi.doUnmock('../../src/react/document.js')
  vi.useRealTimers()
})

// The mocks stand for source files.
describe.skipIf(process.env.BUILT)('a part that fails to load', () => {
  it('of a room is loaded again until it is there', async () => {
    const { Page } = await import('./harness.js')
    const { useRoom } = await import('@throughline/client/react')
    const page = new Page()
    function Room() {
      const { messages, participants } = useRoom('1')
      return <p>{[...participants.map(({ user }) => user), ...messages.map(({ message }) => `${message}`)].join()}</p>
    }
    page.show(<Room />)
    await vi.dynamicImportSettled()
    isBroken = false
    for (let turn = 0; turn < 5; turn += 1) {
      await page.advance(2000)
      await vi.dynamicImportSettled()
    }
    expect([...page.server.rules.members]).toEqual([['room:1', 'online']])
    await page.publish('room:1', 'presence.join', { user: 'bob', status: 'online' })
    await page.publish('room:1', 'room_message', { message: 'hi' })
    expect(document.body.textContent).toBe('bob,hi')
  })

  it('of a room is not loaded again once no component wants it', async () => {
    const { Page } = await import('./harness.js')
    const { useRoom } = await import('@throughline/client/react')
    const page = new Page()
    const Room = () => <p>{useRoom('1').roomId}</p>
    const { unmount } = page.show(<Room />)
    await vi.dynamicImportSettled()
    unmount()
    await page.advance(60_000)
    await vi.dynamicImportSettled()
    expect(page.server.rules.members.size).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('of a document shows as unavailable', async () => {
    const { Page } = await import('./harness.js')
    const { useCollaboration } = await import('@throughline/client/react')
    const page = new Page()
    let shown: unknown
    let sent: Promise<void> | undefined
    function Editor() {
      const { error, sendOperation } = useCollaboration('1')
      shown = error
      sent ??= sendOperation({ type: 'insert', position: 0, content: 'x' })
      sent.catch(() => {})
      return null
    }
    page.show(<Editor />)
    await vi.dynamicImportSettled()
    await page.advance(1000)
    expect(shown).toMatchObject({ name: 'CommandError', code: 'unavailable' })
    await expect(sent).rejects.toMatchObject({ code: 'unavailable' })
  })
})
