import { useConnectionIndicator } from '@throughline/client/react'
import { createElement as h } from 'react'

/** Props of {@link ConnectionStatusIndicator}. */
export interface ConnectionStatusIndicatorProps {
  /** Adds transport, latency, retries and the latest error. Default: false. */
  showDetails?: boolean
  className?: string
}

/** A status light with words beside it: `data-status` and `data-color` are there to style by. */
export function ConnectionStatusIndicator({ showDetails = false, className = '' }: ConnectionStatusIndicatorProps) {
  const { status, color, label, transport, latency, retryCount, error } = useConnectionIndicator()
  const details = [
    transport && `via ${transport}`,
    latency !== null && `${Math.round(latency)} ms`,
    retryCount > 0 && `attempt ${retryCount}`,
    error?.message,
  ].filter(Boolean)
  return h(
    'span',
    { className: `tl-status ${className}`.trim(), role: 'status', 'data-status': status, 'data-color': color },
    h('span', { className: 'tl-dot', 'aria-hidden': true }, '●'),
    ' ',
    h('span', { className: 'tl-label' }, label),
    showDetails && details.length > 0 && h('span', { className: 'tl-details' }, ` (${details.join(', ')})`),
  )
}
