// @vitest-environment happy-dom

import { cleanup, screen } from '@testing-library/react'
import type { Client, Member, ThroughlineEvent } from '@throughline/client'
import { usePresence, useRoom } from '@throughline/client/react'
import { settle } from '@throughline/client/testing'
import { useState } from 'react'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { followPeople, type Person } from '../../src/react/rooms.js'
import { Page } from './harness.js'

afterEach(() => {
  cleanup()
  vi.useRealTimers()
})

const member = (user: string): Member => ({ user, status: 'online', since: '', last_seen: '', sessions: 1 })

/** A topic whose answers come when the test says so. */
function lobby() {
  let take = (_: ThroughlineEvent): void => {}
  let changed = (): void => {}
  let list: readonly Person[] = []
  const state = { transport: 'ws' as string | null }
  const answers: ((members: Member[]) => Promise<void>)[] = []
  const topic = {
    members: () =>
      new Promise<Member[]>((resolve) => {
        answers.push(async (members) => {
          resolve(members)
          await settle()
        })
      }),
    onReset: () => () => {},
    onAny: (hear: typeof take) => {
      take = hear
      return () => {}
    },
  }
  const client = {
    state,
    topic: () => topic,
    subscribe: (hear: () => void) => {
      changed = hear
      return () => {}
    },
  } as unknown as Client
  followPeople(client, 'room:1', (change) => {
    list = change(list)
  })
  const tell = (kind: 'join' | 'leave', user: string, seq: number): void =>
    take({
      seq,
      topic: 'room:1',
      type: `presence.${kind}`,
      time: '2026-11-20T03:30:12.123Z',
      data: { user, status: kind === 'join' ? 'online' : 'offline' },
    })
  const reconnect = (): void => {
    state.transport = null
    changed()
    state.transport = 'sse'
    changed()
  }
  return { answers, tell, reconnect, users: () => list.map(({ user }) => user).sort() }
}

describe('the list of who is present', () => {
  it('keeps what an event told while the answer was on its way', async () => {
    const { answers, tell, users } = lobby()
    tell('leave', 'alice', 1)
    tell('join', 'carol', 2)
    await answers[0]?.([member('alice'), member('bob')])
    expect(users()).toEqual(['bob', 'carol'])
  })

  it('believes the answer to a later request about what was told before it', async () => {
    const { answers, tell, reconnect, users } = lobby()
    tell('join', 'carol', 1)
    await answers[0]?.([member('bob')])
    reconnect()
    await answers[1]?.([member('bob')])
    expect(users()).toEqual(['bob'])
  })

  it('drops an answer that comes after the one to a later request', async () => {
    const { answers, reconnect, users } = lobby()
    reconnect()
    await answers[1]?.([member('bob')])
    await answers[0]?.([member('alice')])
    expect(users()).toEqual(['bob'])
  })
})

describe('being present', () => {
  /** What the gateway heard, without repetitions: a client says where it is with each hello. */
  const presence = (page: Page): unknown[] => {
    const said = page.server.commands.filter(({ op }) => op === 'presence')
    const texts = said.map(({ status, info }) => JSON.stringify([status, info]))
    return texts.filter((text, index) => text !== texts[index - 1]).map((text) => JSON.parse(text) as unknown)
  }

  function Here({ status, info }: { status?: 'online' | 'away' | null; info?: unknown }) {
    usePresence('room:1', { status, info })
    return null
  }

  async function settled(page: Page): Promise<void> {
    await vi.dynamicImportSettled()
    await page.advance(2000)
  }

  it('lasts until the last of several components is gone', async () => {
    const page = new Page()
    let hide = (): void => {}
    function Two() {
      const [first, setFirst] = useState(true)
      hide = () => setFirst(false)
      return (
        <>
          {first && <Here info="a" />}
          <Here info="a" />
        </>
      )
    }
    const { unmount } = page.show(<Two />)
    await settled(page)
    hide()
    await page.advance(2000)
    expect(presence(page)).toEqual([['online', 'a']])
    page.client.acquire()
    unmount()
    await page.advance(2000)
    expect(presence(page)).toEqual([
      ['online', 'a'],
      ['offline', null],
    ])
  })

  it('changes by one command, without leaving', async () => {
    const page = new Page()
    let change = (_: string): void => {}
    function Changing() {
      const [info, setInfo] = useState('a')
      change = setInfo
      return <Here status={info === 'c' ? 'away' : 'online'} info={info} />
    }
    page.show(<Changing />)
    await settled(page)
    for (const info of ['b', 'c']) {
      change(info)
      await page.advance(1000)
    }
    expect(presence(page)).toEqual([
      ['online', 'a'],
      ['online', 'b'],
      ['away', 'c'],
    ])
  })

  it('passes from one component to the next without leaving', async () => {
    const page = new Page()
    let turn = (): void => {}
    function Pages() {
      const [next, setNext] = useState(false)
      turn = () => setNext(true)
      return next ? <Here key="b" info="x" /> : <Here key="a" info="x" />
    }
    page.show(<Pages />)
    await settled(page)
    turn()
    await page.advance(2000)
    expect(presence(page)).toEqual([['online', 'x']])
  })

  it('is shown by the best status of all components, and by what was said last', async () => {
    const page = new Page()
    page.show(
      <>
        <Here info="a" />
        <Here status="away" info="b" />
        <Here status={null} info="c" />
      </>,
    )
    await settled(page)
    expect(presence(page).at(-1)).toEqual(['online', 'b'])
  })

  it('joins the next room by itself although the one before was left', async () => {
    const page = new Page()
    let go = (): void => {}
    function Room() {
      const [room, setRoom] = useState('1')
      go = () => setRoom('2')
      const { isJoined, leaveRoom } = useRoom(room)
      return (
        <button type="button" onClick={leaveRoom}>
          {`${room} ${isJoined}`}
        </button>
      )
    }
    page.show(<Room />)
    await settled(page)
    screen.getByText('1 true').click()
    await page.advance(1000)
    expect(screen.getByText('1 false')).toBeTruthy()
    go()
    await page.advance(1000)
    expect(screen.getByText('2 true')).toBeTruthy()
  })
})
