import { settle } from '@throughline/client/testing'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Library, Writer } from './writers.js'

const NUMBER_OF_RUNS = Number(process.env.PROPERTY_RUNS ?? 500)

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** Everybody hears everything and reloads where told to, until nothing moves any more. */
async function rest(writers: Writer[]): Promise<void> {
  const step = async (): Promise<boolean> => {
    const moved = writers.map((writer) => writer.subscribe() || writer.hear() || writer.reload()).some(Boolean)
    await settle()
    return moved || writers.some(({ view }) => view.pendingCount)
  }
  for (let quiet = 0; quiet < 3; ) {
    quiet = (await step()) ? 0 : quiet + 1
    await vi.advanceTimersByTimeAsync(quiet ? 30_000 : 1000)
  }
}

function expectOneText(library: Library, writers: Writer[]): void {
  expect(writers.map(({ text }) => text)).toEqual(Array(writers.length).fill(library.text))
}

/**
 * Someone whose stream begins after an operation that history does not have yet, and brings more of
 * them.
 */
async function behindHistory(withText: boolean): Promise<{ library: Library; late: Writer }> {
  const library = new Library()
  const early = new Writer(library, 'a')
  const late = new Writer(library, 'b')
  late.enter(withText)
  early.subscribe()
  await settle()
  library.fallBehind()
  early.type(0, 'one')
  await settle()
  late.subscribe()
  for (const word of ['two', 'three']) {
    early.type(0, word)
    await settle()
    late.hear()
    await vi.advanceTimersByTimeAsync(5000)
  }
  return { library, late }
}

describe('people who edit one text', () => {
  it('end with the same text when two begin an empty document at once', async () => {
    const library = new Library()
    const writers = ['a', 'b'].map((name) => new Writer(library, name))
    for (const writer of writers) writer.subscribe()
    await settle()
    writers[0]?.type(0, 'hello')
    writers[1]?.type(0, 'AA!')
    await rest(writers)
    expectOneText(library, writers)
    expect(library.text).toHaveLength(8)
  })

  it('go on after an hour of silence, when the gateway has forgotten the topic', async () => {
    const library = new Library()
    const writers = ['a', 'b'].map((name) => new Writer(library, name))
    writers[0]?.type(0, 'hello')
    await rest(writers)
    library.forget()
    writers[1]?.type(5, ' you')
    await rest(writers)
    expectOneText(library, writers)
    expect(library.text).toBe('hello you')
  })

  it('are told when an operation is refused for good, instead of sending it for ever', async () => {
    const library = new Library()
    const writer = new Writer(library, 'a')
    library.refusal = 'too_large'
    writer.type(0, 'much')
    await settle()
    const attempts = library.attempts
    await vi.advanceTimersByTimeAsync(60_000)
    expect(library.attempts).toBe(attempts)
    expect(writer.view.error).toMatchObject({ code: 'too_large' })
  })

  it.each([
    ['the text of now', true],
    ['the first operation', false],
  ])('miss nothing when history is behind the stream for 20 s: from %s', async (_, withText) => {
    const { library, late } = await behindHistory(withText)
    await vi.advanceTimersByTimeAsync(20_000)
    library.behind = null
    await rest([late])
    expectOneText(library, [late])
    expect(late.view.error).toBeNull()
  })

  it('are told when history stays behind the stream', async () => {
    const { library, late } = await behindHistory(true)
    await vi.advanceTimersByTimeAsync(120_000)
    expect(late.view.error?.message).toContain('missing')
    library.behind = null
    await rest([late])
    expectOneText(library, [late])
  })

  it('are told that the text has no beginning when its first operations are not retained any more', async () => {
    const library = new Library()
    const writers = ['a', 'b'].map((name) => new Writer(library, name))
    writers[0]?.type(0, 'hello')
    await rest(writers)
    library.trim(0)
    const late = new Writer(library, 'c')
    late.type(0, 'AA')
    await settle()
    expect(late.view.error).not.toBeNull()
    await rest([...writers, late])
    expectOneText(library, [...writers, late])
  })

  it('all end with the same text: delays, cuts, resets, late comers, silence, lags', async () => {
    const who = fc.nat(2)
    const at = fc.double({ min: 0, max: 0.999, noNaN: true })
    const size = fc.integer({ min: 1, max: 5 })
    const often = <T>(arbitrary: fc.Arbitrary<T>) => ({ arbitrary, weight: 6 })
    const rarely = <T>(arbitrary: fc.Arbitrary<T>) => ({ arbitrary, weight: 1 })
    const act = fc.oneof(
      often(fc.record({ act: fc.constant('type' as const), who, at, size, inserts: fc.boolean() })),
      often(fc.record({ act: fc.constant('hear' as const), who })),
      often(fc.record({ act: fc.constant('subscribe' as const), who })),
      rarely(fc.record({ act: fc.constantFrom('cut before' as const, 'cut after' as const) })),
      rarely(
        fc.record({ act: fc.constantFrom('chat' as const, 'forget' as const, 'restart' as const, 'wait' as const) }),
      ),
      rarely(fc.record({ act: fc.constantFrom('fall behind' as const, 'catch up' as const) })),
      rarely(fc.record({ act: fc.constant('trim' as const), keep: fc.nat(3) })),
      rarely(
        fc.record({ act: fc.constantFrom('enter' as const, 'enter with the text' as const, 'blink' as const), who }),
      ),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 60 }), async (acts) => {
        const library = new Library()
        const writers = ['a', 'b', 'c'].map((name) => new Writer(library, name))
        for (const step of acts) {
          const writer = 'who' in step ? (writers[step.who] as Writer) : null
          if (step.act === 'type') writer?.edit(step.at, step.size, step.inserts)
          else if (step.act === 'hear') writer?.hear()
          else if (step.act === 'subscribe') writer?.subscribe()
          // Without its first operations a text cannot be made from the log: a reader who types
          // nothing is not told.
          else if (step.act === 'enter') writer?.enter(!library.isWhole)
          else if (step.act === 'enter with the text') writer?.enter(true)
          else if (step.act === 'blink') writer?.blink()
          else if (step.act === 'chat') library.chat()
          else if (step.act === 'forget') library.forget()
          else if (step.act === 'trim') library.trim(step.keep)
          else if (step.act === 'restart') library.restart()
          else if (step.act === 'fall behind') library.fallBehind()
          else if (step.act === 'catch up') library.behind = null
          else if (step.act === 'wait') await vi.advanceTimersByTimeAsync(1000)
          else library.cut = step.act
          await settle()
        }
        library.behind = null
        await rest(writers)
        expectOneText(library, writers)
      }),
      { numRuns: NUMBER_OF_RUNS },
    )
  })
})
