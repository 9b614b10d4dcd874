import type { Link, LinkEvents, LinkRequest } from './link.js'
import { refusal } from './refusal.js'

const PAD_BYTES = 16384
/** A line longer than this is not from a gateway. */
const LINE_MAX = 4 * 1024 * 1024

/**
 * Server-sent events read through fetch, which sees status, headers and every byte; EventSource
 * sees none of them.
 */
export function openSse({ env, pad, address, init }: LinkRequest, { heard, message, closed }: LinkEvents): Link {
  const abort = new AbortController()

  async function read(): Promise<void> {
    const response = await env.fetch(address('v1/sse', { pad: pad && PAD_BYTES }), init(abort.signal))
    const { status, headers, body } = response
    // A captive portal or an interstitial may answer in the gateway's place.
    const stream = headers.get('content-type')?.startsWith('text/event-stream')
    if (status !== 200 || !stream || !body) return closed(refusal(response))
    heard()
    const decoder = new TextDecoder()
    const reader = body.getReader()
    let rest = ''
    for (;;) {
      const { done, value } = await reader.read()
      if (done || rest.length > LINE_MAX) throw new Error('ended')
      heard()
      // A batch is one line of data (PROTOCOL.md, T30); other fields carry nothing that it does
      // not.
      const lines = (rest + decoder.decode(value, { stream: true })).split(/[\r\n]+/)
      rest = lines.pop() as string
      for (const line of lines) if (line.startsWith('data:')) message(line.slice(5))
      if (rest) heard(true)
    }
  }

  read().catch((error) => closed({ kind: 'lost', message: `${error}` }))
  return { close: () => abort.abort() }
}
