/**
 * Plays the gateway of each golden transcript against the client, and compares what the application
 * saw.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Env, Transport } from '@throughline/client'
import { FakeClock, FakePage, seededRandom, settle } from '@throughline/client/testing'
import { describe, expect, it } from 'vitest'
import { connectTo, SECOND } from './harness.js'

const ROOT = fileURLToPath(new URL('../../../fixtures/transcripts', import.meta.url))

interface Step {
  connects?: { method: string; target: string; headers?: Record<string, string> }
  head?: { status: number; headers?: Record<string, string> }
  sends?: string
  answers?: { status: number; headers?: Record<string, string>; body: string }
  receives?: string
  advance_ms?: number
  cuts?: true
  closes?: number
  ends?: true
}

interface Transcript {
  about: string
  steps: Step[]
  client: { seqs: number[]; resets: string[]; cursor: string | null; bye?: string }
}

const VALUES: Record<string, string> = {
  epoch: 'k3f9',
  session: 'nV3xq8m2LrT0aZ9d',
  time: '2026-11-20T03:30:12.123Z',
  deployment: '0.1.0',
  ms: '1500',
  detail: 'for people',
}
const filled = (text: string): string => text.replace(/<(\w+)>/g, (_, name: string) => VALUES[name] ?? name)

/** A connection or request of the client, as the script sees it. */
interface Arrival {
  url: URL
  accept(): void
  answer(status: number, headers: Record<string, string>, body: string | null): void
  send(text: string): void
  end(code?: number): void
}

class Script {
  readonly clock = new FakeClock()
  readonly arrivals: Arrival[] = []
  private current: Arrival | null = null
  private readonly targets = new Set<string>()

  readonly env: Partial<Env> = {
    now: this.clock.now,
    setTimeout: this.clock.setTimeout,
    clearTimeout: this.clock.clearTimeout,
    random: seededRandom(7),
    page: new FakePage(),
    storage: null,
    origin: 'http://gateway.test',
    fetch: (url, init) => this.fetch(new URL(url), init),
    WebSocket: socketClass((arrival) => this.arrivals.push(arrival)),
  }

  async play(step: Step): Promise<void> {
    if (step.connects) {
      const { target, headers = {} } = step.connects
      const url = new URL(filled(target), 'http://gateway.test')
      const lastId = headers['last-event-id'] ?? headers['Last-Event-ID']
      // A header that a browser would send stands for the cursor, which this client keeps in the
      // address.
      if (lastId) url.searchParams.set('after', filled(lastId))
      // The same request again is a browser's or a proxy's doing; the client does not see its
      // answer.
      const again = url.searchParams.has('after') && this.targets.has(target) && !lastId
      this.targets.add(target)
      this.current = again ? null : await this.arrival(url)
    } else if (step.advance_ms) await this.clock.advance(step.advance_ms)
    else if (step.head?.status === 101) this.current?.accept()
    else if (step.head) this.current?.answer(step.head.status, step.head.headers ?? {}, null)
    else if (step.answers) {
      this.current?.answer(step.answers.status, step.answers.headers ?? {}, filled(step.answers.body))
    } else if (step.sends !== undefined) this.current?.send(filled(step.sends))
    else if (step.cuts) this.current?.end()
    else if (step.ends) this.current?.end()
    else if (step.closes) this.current?.end(step.closes)
    await settle()
  }

  /** The client's next connection, which must ask to go on from where the transcript says. */
  private async arrival(target: URL): Promise<Arrival> {
    for (let waited = 0; this.arrivals.length === 0 && waited < 20 * SECOND; waited += 10) await this.clock.advance(10)
    const next = this.arrivals.shift()
    if (!next) throw new Error(`the client did not connect to ${target.pathname}`)
    expect(next.url.pathname).toBe(target.pathname)
    expect(next.url.searchParams.get('after')).toBe(target.searchParams.get('after'))
    return next
  }

  private fetch(url: URL, init: RequestInit): Promise<Response> {
    return new Promise((resolve, reject) => {
      const pieces = pipe()
      init.signal?.addEventListener('abort', () => reject(new Error('aborted')))
      this.arrivals.push({
        url,
        accept() {},
        answer(status, headers, body) {
          const text = (): Promise<string> => Promise.resolve(body ?? '')
          const answer = { status, ok: status === 200, headers: new Headers(headers), text, body: pieces.stream }
          resolve({ ...answer, json: async () => JSON.parse(await text()) } as unknown as Response)
        },
        send: pieces.push,
        end: () => {
          reject(new TypeError('cut'))
          pieces.end()
        },
      })
    })
  }
}

function pipe() {
  const encoder = new TextEncoder()
  const waiting: (Uint8Array | null)[] = []
  let wake = (): void => {}
  const read = async () => {
    while (waiting.length === 0) await new Promise<void>((resolve) => (wake = resolve))
    const value = waiting.shift()
    return value ? { done: false, value } : { done: true }
  }
  const put = (piece: Uint8Array | null): void => {
    waiting.push(piece)
    wake()
  }
  // Cut in the middle of what it says, as networks do.
  const push = (text: string): void => {
    const bytes = encoder.encode(text)
    const middle = bytes.length >> 1
    put(bytes.slice(0, middle))
    put(bytes.slice(middle))
  }
  return { stream: { getReader: () => ({ read }) }, push, end: () => put(null) }
}

function socketClass(arrived: (arrival: Arrival) => void): Env['WebSocket'] {
  return class {
    readyState = 0
    onopen: ((event: never) => void) | null = null
    onmessage: ((event: never) => void) | null = null
    onclose: ((event: never) => void) | null = null
    onerror: ((event: never) => void) | null = null
    constructor(url: string) {
      arrived({
        url: new URL(url),
        accept: () => {
          this.readyState = 1
          this.onopen?.({} as never)
        },
        answer: () => this.onclose?.({ code: 1006 } as never),
        send: (text) => this.onmessage?.({ data: text } as never),
        end: (code = 1006) => {
          this.readyState = 3
          this.onclose?.({ code, reason: '' } as never)
        },
      })
    }
    send(): void {}
    close(): void {
      this.readyState = 3
    }
  }
}

describe.each(['ws', 'sse', 'poll'] as Transport[])('%s', (transport) => {
  const names = readdirSync(`${ROOT}/${transport}`)
  it.each(names)('%s', async (name) => {
    const transcript = JSON.parse(readFileSync(`${ROOT}/${transport}/${name}`, 'utf8')) as Transcript
    const script = new Script()
    const first = transcript.steps.find((step) => step.connects)?.connects?.target ?? ''
    const after = new URL(filled(first), 'http://gateway.test').searchParams.get('after')
    const { client, seqs, resets, reports } = connectTo(
      { env: script.env },
      {
        transports: [transport],
        user: 'alice',
        ...(after ? { after } : {}),
        // Some transcripts are silent for as long as the gateway may be; suspicion is not their
        // subject.
        timing: { fallbackDelay: 60 * SECOND },
      },
    )
    for (const step of transcript.steps) await script.play(step)
    await script.clock.advance(10)

    const { client: seen } = transcript
    const lost = reports.flatMap((report) => (report.type === 'lost' ? [report.reason] : []))
    expect(seqs).toEqual(seen.seqs)
    expect(resets.map(({ reason }) => reason)).toEqual(seen.resets)
    expect(client.state.cursor).toBe(seen.cursor === null ? after : filled(seen.cursor))
    // Nothing that an honest gateway says may cost the connection.
    if (!seen.bye && name !== 'refused.json')
      expect(lost).toEqual(transcript.steps.filter(({ cuts }) => cuts).map(() => 'lost'))
    if (seen.bye === 'disconnected') expect(client.state.phase).toBe('closed')
    if (name === 'refused.json') expect(client.state.error?.fatal).toBe(true)
    client.close()
  })
})
