import type { CloseKind } from './ladder-types.js'
import { address, type Link, type LinkEvents, type LinkRequest } from './link.js'

const SUBPROTOCOL = 'throughline.v1'

/** What a close code means (PROTOCOL.md, E5); any other: the link was lost. */
const CODES: Record<number, CloseKind> = {
  1001: 'busy',
  4400: 'fatal',
  4401: 'auth',
  4403: 'fatal',
  4408: 'busy',
  4410: 'fatal',
  4429: 'busy',
  4503: 'busy',
}
const RATE_LIMITED = 4429

/** WebSocket. The token travels as a subprotocol: never in the address. @throws where there is none. */
export function openWs(request: LinkRequest, { heard, message, closed }: LinkEvents): Link {
  const { WebSocket } = request.env
  const token = request.token()
  if (!WebSocket) throw new Error('no WebSocket')
  const url = address(request, 'v1/ws').replace(/^http/, 'ws')
  const socket = new WebSocket(url, token ? [SUBPROTOCOL, `bearer.${token}`] : [SUBPROTOCOL])
  socket.onopen = heard
  socket.onmessage = ({ data }: { data: unknown }) => {
    heard()
    message(String(data))
  }
  // An error is always followed by a close, and only the close carries a code. Some runtimes throw what nobody hears.
  socket.onerror = () => {}
  socket.onclose = ({ code, reason }: { code: number; reason?: string }) => {
    const kind = CODES[code] ?? 'lost'
    const waitMs = code === RATE_LIMITED ? 5000 : 1000
    closed({ kind, code, waitMs: kind === 'busy' ? waitMs : 0, message: reason || `closed: ${code}` })
  }
  return {
    send(text) {
      if (socket.readyState === 1) socket.send(text)
    },
    close: () => socket.close(),
  }
}
