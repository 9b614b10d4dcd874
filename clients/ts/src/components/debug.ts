import { useConnection } from '@throughline/client/react'
import { createElement as h } from 'react'

/** Props of {@link DebugPanel}. */
export interface DebugPanelProps {
  /** More rows, such as `updateSource` of a hook. */
  extra?: Readonly<Record<string, unknown>>
  /** Default: true unless `NODE_ENV` is `production`. */
  enabled?: boolean
}

const development = (): boolean =>
  (globalThis as { process?: { env?: { NODE_ENV?: string } } }).process?.env?.NODE_ENV !== 'production'

/**
 * What a developer asks first: transport, phase, health, user and session. Shows nothing in
 * production.
 */
export function DebugPanel({ extra, enabled = development() }: DebugPanelProps) {
  const { client, phase, transport, latency, retryCount, cursor, error } = useConnection()
  if (!enabled) return null
  const { user, session, deployment } = client.hello ?? {}
  const rows = {
    phase,
    transport,
    latency,
    retryCount,
    cursor,
    error: error?.message,
    user,
    session,
    deployment,
    ...extra,
  }
  return h(
    'details',
    { className: 'tl-debug', open: true },
    h('summary', null, 'Connection'),
    h(
      'dl',
      null,
      Object.entries(rows).flatMap(([name, value]) => [
        h('dt', { key: name }, name),
        h('dd', { key: `${name} value` }, value == null ? '-' : String(value)),
      ]),
    ),
  )
}
