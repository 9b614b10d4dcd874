// Every component in every state that it can show, one at a time, on a client whose gateway is in
// memory.

import { createClient } from '@throughline/client'
import {
  ConnectionStatusIndicator,
  DebugPanel,
  RealtimeStatusPanel,
  ReviewerPresence,
} from '@throughline/client/components'
import { ThroughlineProvider } from '@throughline/client/react'
import { FakeServer } from '@throughline/client/testing'
import { useReducer } from 'react'
import { createRoot } from 'react-dom/client'

const REFUSED = { ws: 'refused', sse: 'refused', poll: 'refused' }
const NOW = Date.now()
const at = (minutes) => new Date(NOW - minutes * 60_000).toISOString()

/** What brings a client into each state; milliseconds are those of the fake clock. */
const STATES = {
  connecting: () => {},
  connected: (server) => server.clock.advance(2000),
  polling: async (server, client) => {
    client.close()
    Object.assign(server.path, { ws: 'refused', sse: 'refused' })
    client.connect()
    await server.clock.advance(5000)
  },
  reconnecting: async (server) => {
    await server.clock.advance(15_000)
    Object.assign(server.path, REFUSED)
    server.cut()
    await server.clock.advance(1000)
  },
  offline: async (server) => {
    await server.clock.advance(2000)
    server.page.signal('offline')
    server.cut()
  },
  disconnected: async (server, client) => {
    await server.clock.advance(2000)
    client.close()
  },
}

const notice = (type, message, index) => ({ id: `${type}${index}`, type, message, timestamp: at(0), data: null })
const FEED = {
  connected: true,
  queuePosition: null,
  syncProgress: null,
  previewStatus: null,
  generationProgress: null,
  notifications: [],
  errors: [],
}
const FULL = {
  ...FEED,
  queuePosition: { position: 2, total: 7, estimatedWaitTime: 95 },
  syncProgress: { stage: 'syncing', progress: 45, message: 'Copying 9 of 20 files' },
  generationProgress: { progress: 12.4, message: 'Panel 1' },
  previewStatus: { status: 'running' },
  notifications: [
    notice('success', 'Saved “Night on the pier”', 1),
    notice('info', 'Ines joined the room', 2),
    notice('warning', 'The preview sleeps after ten minutes without a visitor', 3),
  ],
  errors: [notice('error', 'Port 3000 is taken: the preview moved to port 3001', 4)],
}

/** A panel whose lists can be cleared, as the hook does it. */
function Panel({ feed }) {
  const [shown, change] = useReducer((state, changes) => ({ ...state, ...changes }), feed)
  window.change = change
  const clear = (list) => () => change({ [list]: [] })
  return (
    <RealtimeStatusPanel
      websocket={{ ...shown, clearNotifications: clear('notifications'), clearErrors: clear('errors') }}
      autoClear={0}
    />
  )
}

const PEOPLE = [
  {
    user: 'Ines Okafor',
    status: 'online',
    since: at(5),
    info: { role: 'architect', currentFeature: 'export' },
  },
  { user: 'Bo Lindqvist', status: 'away', since: at(42), info: { role: 'reviewer' } },
  { user: 'mira', status: 'online', since: at(0) },
]

const STORIES = {
  ...Object.fromEntries(
    Object.keys(STATES).flatMap((state) => [
      [`indicator ${state}`, { state, element: <ConnectionStatusIndicator /> }],
      [`indicator ${state}, details`, { state, element: <ConnectionStatusIndicator showDetails /> }],
    ]),
  ),
  'panel quiet': { element: <Panel feed={FEED} /> },
  'panel paused': { element: <Panel feed={{ ...FEED, connected: false }} /> },
  'panel full': { element: <Panel feed={FULL} /> },
  'panel complete': {
    element: <Panel feed={{ ...FEED, syncProgress: { stage: 'complete', progress: 100 } }} />,
  },
  'presence nobody': { element: <ReviewerPresence reviewers={[]} /> },
  'presence three': { element: <ReviewerPresence reviewers={PEOPLE} /> },
  'debug live': { state: 'connected', element: <DebugPanel extra={{ updateSource: 'websocket' }} /> },
  'debug reconnecting': { state: 'reconnecting', element: <DebugPanel /> },
}

window.stories = Object.keys(STORIES)
let root

/** Shows one of them, alone. */
window.show = async (name) => {
  root?.unmount()
  const { state = 'connected', element } = STORIES[name]
  const server = new FakeServer()
  const client = createClient({ env: server.env })
  root = createRoot(document.querySelector('main'))
  root.render(<ThroughlineProvider client={client}>{element}</ThroughlineProvider>)
  await new Promise((resolve) => setTimeout(resolve, 20))
  await STATES[state](server, client)
  await new Promise((resolve) => setTimeout(resolve, 20))
}
