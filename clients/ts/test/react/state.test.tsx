// @vitest-environment happy-dom

import { QueryClient, QueryClientProvider, useQuery } from '@tanstack/react-query'
import { cleanup, screen } from '@testing-library/react'
import type { CommandError } from '@throughline/client'
import { useQuerySync } from '@throughline/client/query'
import { useJobProgress, useTopicState } from '@throughline/client/react'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Page } from './harness.js'

afterEach(() => {
  cleanup()
  vi.useRealTimers()
})

function stateful(): Page {
  const page = new Page()
  page.server.keepsState = (topic) => topic.startsWith('job:')
  return page
}

const set = (page: Page, key: string, data: unknown) => page.server.publish('job:1', 'progress', data, undefined, key)

function Keys() {
  const { keys, isLoaded } = useTopicState('job:1')
  const view = [...keys].sort(([a], [b]) => a.localeCompare(b)).map(([key, { data }]) => `${key}=${data}`)
  return <p>{`${isLoaded} ${view.join(' ')}`}</p>
}

describe('useTopicState', () => {
  it('shows where things stand, in parts, and then what changes', async () => {
    const page = stateful()
    for (const key of ['a', 'b', 'c', 'd', 'e']) set(page, key, 1)
    set(page, 'b', null)
    page.server.log.trim(0)
    page.show(<Keys />)
    await page.advance(2000)
    expect(screen.getByText('true a=1 c=1 d=1 e=1')).toBeTruthy()
    set(page, 'a', null)
    set(page, 'c', 2)
    await page.advance(100)
    expect(screen.getByText('true c=2 d=1 e=1')).toBeTruthy()
    await page.advance(60_000)
    expect(screen.getByText('true c=2 d=1 e=1')).toBeTruthy()
  })

  it('fetches again where events may be missing', async () => {
    const page = stateful()
    set(page, 'a', 1)
    page.show(<Keys />)
    await page.advance(2000)
    Object.assign(page.server.path, { ws: 'refused', sse: 'refused', poll: 'refused' })
    page.server.cut()
    await page.advance(1000)
    set(page, 'a', null)
    set(page, 'b', 2)
    page.server.log.trim(0)
    Object.assign(page.server.path, { ws: 'open', sse: 'open', poll: 'open' })
    await page.advance(40_000)
    expect(screen.getByText('true b=2')).toBeTruthy()
  })

  it('has what the stream brings of a topic that keeps no state', async () => {
    const page = stateful()
    page.server.keepsState = () => false
    set(page, 'a', 1)
    page.show(<Keys />)
    await page.advance(2000)
    set(page, 'b', 2)
    await page.advance(100)
    expect(screen.getByText('false b=2')).toBeTruthy()
    await page.advance(60_000)
    const asked = page.server.requests.filter(({ url }) => url.pathname.endsWith('/state'))
    expect(asked.length, 'one refusal is final').toBe(1)
    const error = await Promise.all([
      page.client
        .topic('job:1')
        .state()
        .catch((error: CommandError) => error),
      page.advance(500),
    ])
    expect((error[0] as CommandError).code).toBe('not_found')
  })
})

describe('useJobProgress', () => {
  function Job() {
    const { progress, status } = useJobProgress('7', undefined, { topic: 'job:1' })
    return <p>{`${progress} ${status}`}</p>
  }

  it('shows at once how far a job is, and no older progress over a newer one', async () => {
    const page = stateful()
    set(page, 'scan', { jobId: '7', progress: 40, status: 'running' })
    set(page, 'other', { jobId: '8', progress: 90 })
    page.server.log.trim(0)
    page.show(<Job />)
    await page.advance(2000)
    expect(screen.getByText('40 running')).toBeTruthy()
    set(page, 'scan', { jobId: '7', progress: 60 })
    await page.advance(30_000)
    expect(screen.getByText('60 running')).toBeTruthy()
  })
})

describe('useQuerySync with a cursor', () => {
  it('takes what was published between the fetch and the stream', async () => {
    const page = stateful()
    const queries = new QueryClient({ defaultOptions: { queries: { staleTime: Number.POSITIVE_INFINITY } } })
    interface Answer {
      jobs: number[]
      cursor: string
    }
    const database: number[] = [1]
    // The application takes the cursor before it reads: see docs/states.md.
    const queryFn = vi.fn(async (): Promise<Answer> => {
      const cursor = page.server.log.tail
      return { jobs: [...database], cursor }
    })
    function Jobs() {
      const { data } = useQuery({ queryKey: ['jobs'], queryFn })
      useQuerySync<Answer>(['jobs'], {
        topic: 'job:1',
        cursor: ({ cursor }) => cursor,
        update: ({ jobs, cursor }, { data }) => ({ jobs: [...jobs, data as number], cursor }),
      })
      return <p>{JSON.stringify(data?.jobs)}</p>
    }
    // Published after the fetch, before there is a stream.
    void queries.prefetchQuery({ queryKey: ['jobs'], queryFn })
    await page.advance(100)
    set(page, 'a', 2)
    page.show(
      <QueryClientProvider client={queries}>
        <Jobs />
      </QueryClientProvider>,
    )
    await page.advance(3000)
    set(page, 'a', 3)
    await page.advance(1000)
    expect(screen.getByText('[1,2,3]')).toBeTruthy()
    expect(queryFn).toHaveBeenCalledTimes(1)
  })
})
