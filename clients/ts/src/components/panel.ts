import type { Notice, Progress, StatusFeed } from '@throughline/client/react'
import { createElement as h, useEffect, useRef, useState } from 'react'

const STAGES = ['validating', 'syncing', 'launching', 'complete']

/** Props of {@link RealtimeStatusPanel}. */
export interface RealtimeStatusPanelProps {
  /** What `useStatusFeed` (or `useWebSocket`) returned. */
  websocket: Pick<
    StatusFeed,
    'connected' | 'queuePosition' | 'syncProgress' | 'previewStatus' | 'generationProgress' | 'notifications' | 'errors'
  > &
    Partial<Pick<StatusFeed, 'clearNotifications' | 'clearErrors'>>
  /** Milliseconds that a notification stays. Default: 5000; 0: until cleared. */
  autoClear?: number
  className?: string
}

/**
 * Connection light, place in the queue, progress by stages, preview badge, and notifications that
 * go by themselves.
 */
export function RealtimeStatusPanel({ websocket, autoClear = 5000, className = '' }: RealtimeStatusPanelProps) {
  const { connected, queuePosition, syncProgress, previewStatus, generationProgress, errors } = websocket
  const notices = useFresh(websocket.notifications, autoClear)
  return h(
    'section',
    { className: `tl-panel ${className}`.trim(), 'aria-label': 'Live status' },
    h(
      'p',
      { role: 'status', className: 'tl-connection', 'data-connected': connected },
      h('span', { className: 'tl-dot', 'aria-hidden': true }, connected ? '●' : '○'),
      connected ? ' Live updates active' : ' Live updates paused',
    ),
    queuePosition &&
      h(
        'p',
        { className: 'tl-queue' },
        `Position ${queuePosition.position} of ${queuePosition.total}`,
        queuePosition.estimatedWaitTime !== undefined && `, about ${wait(queuePosition.estimatedWaitTime)}`,
      ),
    syncProgress && h(Bar, { name: 'Sync', value: syncProgress, stages: STAGES }),
    generationProgress && h(Bar, { name: 'Generation', value: generationProgress }),
    previewStatus &&
      h('p', { className: 'tl-badge', 'data-status': previewStatus.status }, `Preview: ${previewStatus.status}`),
    h(List, { name: 'notifications', role: 'log', notices, clear: websocket.clearNotifications }),
    h(List, { name: 'errors', role: 'alert', notices: errors, clear: websocket.clearErrors }),
  )
}

function Bar({ name, value, stages }: { name: string; value: Progress; stages?: string[] }) {
  const { stage, progress, message } = value
  return h(
    'div',
    { className: 'tl-progress', 'data-stage': stage },
    h('span', { className: 'tl-label' }, name),
    h('span', null, ` ${Math.round(progress)} %${message ? ` ${message}` : ''}`),
    h('progress', { max: 100, value: progress, 'aria-label': name }),
    stages &&
      h(
        'ol',
        { className: 'tl-stages', 'aria-label': `${name} stages` },
        stages.map((each) => h('li', { key: each, 'aria-current': each === stage ? 'step' : undefined }, each)),
      ),
  )
}

interface ListProps {
  name: string
  role: string
  notices: readonly Notice[]
  clear: (() => void) | undefined
}

function List({ name, role, notices, clear }: ListProps) {
  const region = useRef<HTMLDivElement>(null)
  const clearAll = (): void => {
    clear?.()
    // The button goes away: whoever pressed it by keyboard stays where it was.
    region.current?.focus()
  }
  return h(
    'div',
    { className: `tl-notices tl-${name}` },
    // There before anything is said in it, or it would not be read out.
    h(
      'div',
      { role, 'aria-label': name, tabIndex: -1, ref: region },
      notices.map(({ id, type, message }) =>
        h('p', { key: id, 'data-type': type }, h('strong', null, `${type}:`), ` ${message}`),
      ),
    ),
    notices.length > 0 && clear && h('button', { type: 'button', onClick: clearAll }, `Clear ${name}`),
  )
}

/** Those that have not been shown for longer than `ms`. */
function useFresh(notices: readonly Notice[], ms: number): readonly Notice[] {
  const [gone, setGone] = useState<ReadonlySet<string>>(new Set())
  useEffect(() => {
    const last = notices[notices.length - 1]
    if (!last || ms <= 0) return
    const timer = setTimeout(() => setGone(new Set(notices.map(({ id }) => id))), ms)
    return () => clearTimeout(timer)
  }, [notices, ms])
  return notices.filter(({ id }) => !gone.has(id))
}

function wait(seconds: number): string {
  return seconds < 60 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`
}
