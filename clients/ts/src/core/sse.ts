import { address, fetchInit, type Link, type LinkEvents, type LinkRequest, refusal } from './link.js'
import { sseParser } from './sse-parser.js'

const PAD_BYTES = 16384

/** Server-sent events read through fetch, which sees status, headers and every byte; EventSource sees none of them. */
export function openSse(request: LinkRequest, { heard, message, closed }: LinkEvents): Link {
  const abort = new AbortController()

  async function read(): Promise<void> {
    const url = address(request, 'v1/sse', { pad: request.pad && PAD_BYTES })
    const response = await request.env.fetch(url, fetchInit(request, abort.signal))
    if (response.status !== 200) return closed(refusal(response))
    // A captive portal or an interstitial may answer in the gateway's place.
    const stream = response.headers.get('content-type')?.startsWith('text/event-stream') && response.body
    if (!stream) throw new Error('not an event stream')
    heard()
    const decoder = new TextDecoder()
    const reader = stream.getReader()
    const feed = sseParser(message)
    for (;;) {
      const { done, value } = await reader.read()
      if (done) throw new Error('stream ended')
      heard()
      feed(decoder.decode(value, { stream: true }))
    }
  }

  read().catch((error) => closed({ kind: 'lost', message: String(error) }))
  return { close: () => abort.abort() }
}
