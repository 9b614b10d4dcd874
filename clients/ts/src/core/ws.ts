import type { Close } from './ladder-types.js'
import { address, type Link, type LinkEvents, type LinkRequest } from './link.js'

const SUBPROTOCOL = 'throughline.v1'

/** WebSocket. The token travels as a subprotocol: never in the address. */
export function openWs(request: LinkRequest, events: LinkEvents): Link {
  const { WebSocket } = request.env
  const token = request.token()
  const protocols = token ? [SUBPROTOCOL, `bearer.${token}`] : [SUBPROTOCOL]
  let over = WebSocket === undefined
  const end = (close: Close): void => {
    if (over) return
    over = true
    events.closed(close)
  }
  if (!WebSocket) {
    request.env.setTimeout(() => events.closed({ kind: 'lost', message: 'no WebSocket here' }), 0)
    return { close() {} }
  }
  const socket = new WebSocket(address(request, 'v1/ws').replace(/^http/, 'ws'), protocols)
  socket.onopen = () => {
    if (!over) events.open()
  }
  socket.onmessage = (message: { data: unknown }) => {
    if (over) return
    events.heard()
    if (typeof message.data === 'string') events.message(message.data)
  }
  // An error is always followed by a close, and only the close carries a code.
  socket.onclose = (event: { code: number; reason?: string }) => end(closeOf(event.code, event.reason))
  return {
    send: (text) => {
      if (!over && socket.readyState === 1) socket.send(text)
    },
    close: () => {
      over = true
      socket.close()
    },
  }
}

/** The meaning of a close code (PROTOCOL.md section 6). */
function closeOf(code: number, reason = ''): Close {
  const close = { code, message: reason || `closed with ${code}` }
  if (code === 4401) return { ...close, kind: 'auth' }
  if (code === 4400 || code === 4403 || code === 4410) return { ...close, kind: 'fatal' }
  if (code === 4429) return { ...close, kind: 'busy', retryAfterMs: 5000 }
  if (code === 4503) return { ...close, kind: 'busy', retryAfterMs: 1000 }
  if (code === 1001 || code === 4408) return { ...close, kind: 'busy' }
  return { ...close, kind: 'lost' }
}
