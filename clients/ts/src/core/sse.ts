import { createParser } from 'eventsource-parser'
import { address, fetchInit, type Link, type LinkEvents, type LinkRequest, refusal } from './link.js'

const PAD_BYTES = '16384'

/** Server-sent events read through fetch, which sees status, headers and every byte; EventSource sees none of them. */
export function openSse(request: LinkRequest, events: LinkEvents): Link {
  const abort = new AbortController()
  read(request, events, abort.signal).catch((error: unknown) => {
    if (!abort.signal.aborted) events.closed({ kind: 'lost', message: String(error) })
  })
  return { close: () => abort.abort() }
}

async function read(request: LinkRequest, events: LinkEvents, signal: AbortSignal): Promise<void> {
  const { fetch } = request.env
  if (!fetch) throw new Error('no fetch here')
  const url = address(request, 'v1/sse', { pad: request.pad ? PAD_BYTES : undefined })
  const response = await fetch(url, fetchInit(request, signal))
  if (signal.aborted) return
  const type = response.headers.get('content-type') ?? ''
  if (response.status !== 200) return events.closed(refusal(response))
  if (!response.body || !type.startsWith('text/event-stream')) {
    // A captive portal or an interstitial answered in the gateway's place.
    return events.closed({ kind: 'lost', code: 200, message: 'not an event stream' })
  }
  events.open()
  const parser = createParser({ onEvent: (message) => events.message(message.data) })
  const decoder = new TextDecoder()
  const reader = response.body.getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (signal.aborted) return
    if (done) return events.closed({ kind: 'lost', message: 'stream ended' })
    events.heard()
    parser.feed(decoder.decode(value, { stream: true }))
  }
}
