'use client'
/**
 * Accessible components without styles of their own: class names and data attributes to style by.
 */
export { DebugPanel, type DebugPanelProps } from './components/debug.js'
export {
  ConnectionStatusIndicator,
  ConnectionStatusIndicator as default,
  type ConnectionStatusIndicatorProps,
} from './components/indicator.js'
export { RealtimeStatusPanel, type RealtimeStatusPanelProps } from './components/panel.js'
export { ReviewerPresence, type ReviewerPresenceProps } from './components/presence.js'
