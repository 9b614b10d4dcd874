import type { SocketLike } from '../core/env.js'

/** What the server holds of one stream or one waiting poll. */
export interface Pipe {
  /** Sends one message, or a piece of an event stream, if the other side is still there. */
  send(text: string): void
  /** Ends it; a WebSocket with a close code. */
  close(code?: number): void
}

/** A WebSocket whose other end is a {@link Pipe}. */
export class FakeSocket implements SocketLike {
  readyState = 0
  onopen: ((event: never) => void) | null = null
  onmessage: ((event: never) => void) | null = null
  onclose: ((event: never) => void) | null = null
  onerror: ((event: never) => void) | null = null
  /** Called with what the client sends. */
  onsend: (text: string) => void = () => {}
  /** Called when the client closes. */
  onleave: () => void = () => {}

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {}

  readonly pipe: Pipe = {
    send: (text) => {
      if (this.readyState === 1) this.onmessage?.({ data: text } as never)
    },
    close: (code = 1006) => {
      if (this.readyState === 3) return
      this.readyState = 3
      this.onclose?.({ code, reason: '' } as never)
    },
  }

  accept(): void {
    if (this.readyState !== 0) return
    this.readyState = 1
    this.onopen?.({} as never)
  }

  send(text: string): void {
    this.onsend(text)
  }

  close(): void {
    if (this.readyState === 3) return
    this.readyState = 3
    this.onleave()
  }
}

/** A response with a given status and JSON body. */
export function jsonResponse(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  const type = status === 200 ? 'application/json' : 'application/problem+json'
  return plainResponse(status, JSON.stringify(body), { 'content-type': type, ...headers }, null)
}

/** An event stream of what is sent into the pipe. */
export function streamResponse(
  signal: AbortSignal | null | undefined,
  closed: () => void,
): { response: Response; pipe: Pipe } {
  const encoder = new TextEncoder()
  const chunks: (Uint8Array | null)[] = []
  let waiting: ((chunk: Uint8Array | null) => void) | null = null
  let fail: ((error: Error) => void) | null = null
  const push = (chunk: Uint8Array | null): void => {
    if (waiting) waiting(chunk)
    else chunks.push(chunk)
    waiting = null
  }
  signal?.addEventListener('abort', () => fail?.(new Error('aborted')))
  const read = (): Promise<{ done: boolean; value?: Uint8Array }> =>
    new Promise<Uint8Array | null>((resolve, reject) => {
      fail = reject
      const ready = chunks.shift()
      if (ready !== undefined) resolve(ready)
      else waiting = resolve
    }).then((value) => (value ? { done: false, value } : { done: true }))
  const body = { getReader: () => ({ read }) }
  const close = (): void => {
    closed()
    push(null)
  }
  return {
    response: plainResponse(200, '', { 'content-type': 'text/event-stream' }, body),
    pipe: { send: (text) => push(encoder.encode(text)), close },
  }
}

function plainResponse(status: number, text: string, headers: Record<string, string>, body: unknown): Response {
  return {
    status,
    ok: status >= 200 && status < 300,
    headers: new Headers(headers),
    body,
    text: () => Promise.resolve(text),
    json: () => Promise.resolve(JSON.parse(text) as unknown),
  } as Response
}
