import type { ClientState } from '@throughline/client'
import { type Target, useLink } from './context.js'

/** The three words that most user interfaces need. */
export type WebSocketStatus = 'connected' | 'connecting' | 'disconnected'

/** `connected` only while events are pushed. */
export function websocketStatus({ isRealtime, phase }: ClientState): WebSocketStatus {
  if (isRealtime) return 'connected'
  return phase === 'connecting' || phase === 'recovering' ? 'connecting' : 'disconnected'
}

/** The client's state, and what can be done about it. */
export function useConnection(target?: Target) {
  const link = useLink(target)
  const { client } = link
  const isConnected = link.transport !== null
  return {
    ...link,
    status: websocketStatus(link),
    /** Events arrive, on whichever transport. */
    connected: isConnected,
    isConnected,
    latency: link.latencyMs,
    connect: client.connect,
    disconnect: client.close,
  }
}

/** For a status light: a colour is never the only sign, `label` says the same in words. */
export function useConnectionIndicator(target?: Target) {
  const connection = useConnection(target)
  const { phase, isConnected, isRealtime, retryCount } = connection
  const isReconnecting = phase === 'recovering' || (phase === 'connecting' && retryCount > 0)
  const [status, color, label] = isRealtime
    ? ['connected', 'green', 'Real-time']
    : isConnected
      ? ['polling', 'yellow', 'Polling']
      : isReconnecting
        ? ['reconnecting', 'red', 'Reconnecting']
        : phase === 'connecting'
          ? ['connecting', 'yellow', 'Connecting']
          : ['disconnected', 'red', phase === 'offline' ? 'Offline' : 'Disconnected']
  return { ...connection, isReconnecting, status: status as string, color: color as string, label: label as string }
}
