import type { ClientState } from '@throughline/client'
import { type Target, useClient, useClientState } from './context.js'

/** The three words that most user interfaces need. */
export type WebSocketStatus = 'connected' | 'connecting' | 'disconnected'

/** `connected` only while events are pushed. */
export function websocketStatus({ isRealtime, phase }: ClientState): WebSocketStatus {
  if (isRealtime) return 'connected'
  return phase === 'connecting' || phase === 'recovering' ? 'connecting' : 'disconnected'
}

/** The client's state, and what can be done about it. */
export function useConnection(target?: Target) {
  const client = useClient(target)
  const state = useClientState(client)
  return {
    ...state,
    client,
    status: websocketStatus(state),
    /** Events arrive, on whichever transport. */
    connected: state.transport !== null,
    isConnected: state.transport !== null,
    latency: state.latencyMs,
    connect: () => client.connect(),
    disconnect: () => client.close(),
  }
}

/** For a status light: a colour is never the only sign, `label` says the same in words. */
export function useConnectionIndicator(target?: Target) {
  const connection = useConnection(target)
  const { phase, transport, isRealtime, retryCount, latency, error, isConnected } = connection
  const isReconnecting = phase === 'recovering' || (phase === 'connecting' && retryCount > 0)
  const status = isRealtime
    ? 'connected'
    : isConnected
      ? 'polling'
      : isReconnecting
        ? 'reconnecting'
        : connection.status
  const [color, label] = {
    connected: ['green', 'Real-time'],
    polling: ['yellow', 'Polling'],
    reconnecting: ['red', 'Reconnecting'],
    connecting: ['yellow', 'Connecting'],
    disconnected: ['red', phase === 'offline' ? 'Offline' : 'Disconnected'],
  }[status] as [string, string]
  return { status, color, label, isConnected, isReconnecting, retryCount, latency, error, transport, phase }
}
