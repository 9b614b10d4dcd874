import type { Batch } from '@throughline/client'
import { FakeServer } from '@throughline/client/testing'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { connectTo, MINUTE, SECOND } from './harness.js'

type Act = (server: FakeServer) => void | Promise<void>

/** Ways of misleading a client that an honest gateway behind a hostile path, or a broken gateway, may show. */
const LIES: Record<string, (server: FakeServer) => FakeServer['tamper']> = {
  none: () => (text) => [text],
  repeats: () => (text) => [text, text],
  omits: (server) => (text) => (server.log.seq % 3 === 0 ? [] : [text]),
  garbles: (server) => (text) => (server.log.seq % 4 === 0 ? [text.slice(0, text.length / 2)] : [text]),
  swaps: () => {
    let held: string | null = null
    return (text) => {
      if (held === null) {
        held = text
        return []
      }
      const both = [text, held]
      held = null
      return both
    }
  },
  'echoes old events': (server) => (text) => {
    const batch = JSON.parse(text) as Batch
    if (!Array.isArray(batch.events) || batch.events.length === 0) return [text]
    const first = batch.events[0]?.seq ?? 0
    const old = server.log.events.filter(({ seq = 0 }) => seq < first).slice(-3)
    return [JSON.stringify({ ...batch, events: [...old, ...batch.events] })]
  },
  'numbers wrongly': () => (text) => [text.replace(/"seq":(\d+)/, '"seq":-$1')],
  'shuffles within a batch': () => (text) => {
    const batch = JSON.parse(text) as Batch
    return [JSON.stringify(Array.isArray(batch.events) ? { ...batch, events: [...batch.events].reverse() } : batch)]
  },
}

const transport = fc.constantFrom('ws' as const, 'sse' as const, 'poll' as const)
const path = fc.oneof(
  { weight: 3, arbitrary: fc.constant('open' as const) },
  fc.constantFrom(
    'refused' as const,
    'unanswered' as const,
    'silent' as const,
    'one-behind' as const,
    'blocks' as const,
  ),
  fc.integer({ min: 20, max: 5000 }),
)

const act: fc.Arbitrary<{ name: string; run: Act }> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.integer({ min: 1, max: 5 }).map((count) => ({
      name: `publish ${count}`,
      run: (server: FakeServer) => {
        for (let index = 0; index < count; index += 1) server.publish('user:test', 'tick', index)
      },
    })),
  },
  {
    weight: 6,
    arbitrary: fc
      .integer({ min: 1, max: 15_000 })
      .map((ms) => ({ name: `wait ${ms}`, run: (server: FakeServer) => server.clock.advance(ms) })),
  },
  fc.tuple(transport, path).map(([on, what]) => ({
    name: `${on} ${what}`,
    run: (server: FakeServer) => {
      server.path[on] = what
    },
  })),
  transport.map((on) => ({ name: `cut ${on}`, run: (server: FakeServer) => server.cut(on) })),
  fc.constant({ name: 'freeze', run: (server: FakeServer) => server.freeze() }),
  fc.constantFrom(...Object.keys(LIES)).map((lie) => ({
    name: `lie: ${lie}`,
    run: (server: FakeServer) => {
      server.tamper = (LIES[lie] as (typeof LIES)[string])(server)
    },
  })),
  fc
    .integer({ min: 0, max: 3 })
    .map((keep) => ({ name: `trim ${keep}`, run: (server: FakeServer) => server.log.trim(keep) })),
  fc.integer({ min: 2, max: 9 }).map((epoch) => ({
    name: `epoch ${epoch}`,
    run: (server: FakeServer) => {
      server.cut()
      server.log.restart(`e${epoch}-${server.log.seq}`)
    },
  })),
  fc
    .integer({ min: 0, max: 3000 })
    .map((ms) => ({ name: `bye ${ms}`, run: (server: FakeServer) => server.bye('drain', ms) })),
  fc.constantFrom('hidden', 'visible', 'wake', 'online', 'offline', 'network', 'pagehide').map((signal) => ({
    name: signal,
    run: (server: FakeServer) => server.page.signal(signal as 'wake'),
  })),
  fc
    .integer({ min: 2000, max: 3_600_000 })
    .map((ms) => ({ name: `sleep ${ms}`, run: (server: FakeServer) => server.clock.sleep(ms) })),
)

describe('whatever happens', () => {
  it('the application sees each seq once, in order, or a reset', async () => {
    const runs = Number(process.env.PROPERTY_RUNS ?? 300)
    await fc.assert(
      fc.asyncProperty(fc.integer(), fc.array(act, { minLength: 5, maxLength: 60 }), async (seed, acts) => {
        const server = new FakeServer({ seed })
        const trace: (number | 'reset')[] = []
        const { client } = connectTo(server)
        client.onAny(({ seq = 0 }) => trace.push(seq))
        client.onReset(() => trace.push('reset'))
        await server.clock.advance(2 * SECOND)

        for (const { run } of acts) await run(server)

        // Everything heals; one last event must arrive.
        server.tamper = (text) => [text]
        Object.assign(server.path, { ws: 'open', sse: 'open', poll: 'open' })
        server.page.signal('online')
        server.page.signal('visible')
        // Longer than the window in which switches are limited.
        await server.clock.advance(8 * MINUTE)
        const last = server.publish('user:test', 'last').seq
        await server.clock.advance(5 * SECOND)

        expect(trace.at(-1)).toBe(last)
        let before = 0
        let reset = false
        for (const step of trace) {
          if (step === 'reset') reset = true
          else {
            expect(step).toBeGreaterThan(before)
            if (!reset) expect(step).toBe(before + 1)
            before = step
            reset = false
          }
        }
        expect(client.state.transport).toBe('ws')
        expect(server.open.ws + server.open.sse + server.open.poll).toBe(1)
        client.close()
      }),
      { numRuns: runs },
    )
  })
})
