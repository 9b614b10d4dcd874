import type { CloseKind } from './close.js'
import type { Link, LinkEvents, LinkRequest } from './link.js'
import { AUTH_MS } from './timing.js'

const SUBPROTOCOL = 'throughline.v1'

/** What a close code means (PROTOCOL.md, E5); any other: the link was lost. */
const CODES: Record<number, CloseKind> = {
  1001: 'busy',
  4408: 'busy',
  4429: 'busy',
  4503: 'busy',
  4400: 'fatal',
  4403: 'fatal',
  4410: 'fatal',
  4401: 'auth',
}

/**
 * WebSocket. The token travels as a subprotocol, never in the address; some proxies let only the
 * first subprotocol through, and so the token follows as a command if nothing comes. @throws where
 * there is no WebSocket.
 */
export function openWs({ env, tokens, address }: LinkRequest, { heard, message, closed }: LinkEvents): Link {
  const WebSocket = env.WebSocket as NonNullable<typeof env.WebSocket>
  let bearer = tokens.current
  const url = address('v1/ws').replace(/^http/, 'ws')
  const socket = new WebSocket(url, bearer ? [SUBPROTOCOL, `bearer.${bearer}`] : [SUBPROTOCOL])
  // There is nothing to say any more.
  const spoken = (): void => {
    bearer = null
  }
  socket.onopen = () => {
    heard()
    env.setTimeout(() => bearer && socket.send(JSON.stringify({ id: 'auth', op: 'auth', token: bearer })), AUTH_MS)
  }
  socket.onmessage = ({ data }: { data: string }) => {
    spoken()
    heard()
    message(data)
  }
  // An error is always followed by a close, and only the close carries a code. Some runtimes throw
  // what nobody hears.
  socket.onerror = () => {}
  socket.onclose = ({ code, reason }: { code: number; reason?: string }) => {
    spoken()
    closed({ kind: CODES[code] ?? 'lost', code, message: reason || `closed ${code}` })
  }
  return {
    send: (text) => socket.send(text),
    close() {
      spoken()
      socket.close()
    },
  }
}
