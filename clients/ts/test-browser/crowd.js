// Many clients of one gateway that is restarted: the built client in Node, because no browser opens
// as many sockets.

import { WebSocket } from 'ws'
import { sleep } from './gateway.js'
import { count, times, until } from './measure.js'

const CLIENTS = 500
const PACE_MS = 1000
const SETTLE_MS = 120_000
/** None may be polling after this. */
const BACK_MS = 60_000

export async function measureCrowd(_browser, gateway, path) {
  const { createClient } = await import('../dist/index.js')
  const accepted = new Map()
  const startedAt = Date.now()
  const crowd = Array.from({ length: CLIENTS }, (_, index) => {
    const client = createClient({ url: path.origin, user: `crowd-${index}`, env: { WebSocket } })
    const seen = { events: [], resets: [], reports: [], links: [], startedAt }
    client.onAny(({ data }) => seen.events.push({ n: data.n, at: Date.now(), ms: Date.now() - data.at }))
    client.onReset(({ reason }) => seen.resets.push({ reason, at: Date.now() }))
    return { client, seen }
  })
  const onWebSocket = () => crowd.every(({ client }) => client.state.transport === 'ws')
  const publish = async (count) => {
    for (let left = count; left > 0; left -= 1) {
      const n = accepted.size + 1
      const at = Date.now()
      await gateway.publish('all', { n, at })
      accepted.set(n, at)
      await sleep(PACE_MS)
    }
  }
  try {
    if (!(await until(onWebSocket, SETTLE_MS))) throw new Error('not every client was on WebSocket before the restart')
    await publish(3)
    await gateway.restart()
    const cut = Date.now()
    const back = (await until(onWebSocket, BACK_MS)) ? Date.now() - cut : null
    await publish(3)
    await until(() => crowd.every(({ seen }) => seen.events.at(-1)?.n === accepted.size), SETTLE_MS)
    const each = crowd.map(({ seen }) => ({
      ...count(seen, accepted),
      ...times(seen, { accepted, slowest: 0 }, [cut]),
    }))
    const worst = (name) => Math.max(...each.map((figures) => figures[name]))
    const names = ['published', 'lost', 'told', 'twice', 'reordered', 'resets', 'first', 'longest', 'afterCut']
    return {
      settledOn: onWebSocket() ? 'ws' : 'poll',
      ...Object.fromEntries(names.map((name) => [name, worst(name)])),
      links: 1,
      back,
      complaints: [],
    }
  } finally {
    for (const { client } of crowd) client.close()
  }
}
