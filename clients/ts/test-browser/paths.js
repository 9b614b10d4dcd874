// The paths of the matrix: what is in the way, and what has to come of it.

import { measureCrowd } from './crowd.js'
import { Gateway } from './gateway.js'
import { measureBack, measureHiddenLeader } from './hidden.js'
import { Obstacle } from './obstacle.js'
import * as real from './proxies.js'
import { closed, crashed, measureTabs } from './tabs.js'

const WITHOUT_WS = ['ws']
/** How long a client may take to the first event after a cut, milliseconds. */
const VISIBLE_MS = 5000
const SILENT_MS = 15_000
/** And how late an event may be where a stream is held back while others pass. */
const HELD_MS = 5000

/**
 * A path of our own making. `more` may replace what is expected, and say when something happens.
 */
function obstacle(name, rules, settles, more = {}) {
  return {
    name,
    settles,
    seconds: 8,
    ...more,
    async open(gateway) {
      const way = await Obstacle.open(gateway.port, rules)
      const { freezes, clearsAfter } = more
      if (clearsAfter) setTimeout(() => way.remove(), clearsAfter)
      return {
        origin: way.origin,
        cuts: way.cuts,
        cut: freezes && (() => way.freeze()),
        remove: () => way.remove(),
        reset: () => way.reset(),
        close: () => way.close(),
      }
    },
  }
}

/** Tabs that share a connection, of which the one that has it ends. */
const tabs = (name, end, more = {}) => ({
  name,
  settles: ['ws'],
  within: VISIBLE_MS,
  measure: measureTabs,
  end,
  ...more,
  open: async (gateway) => ({ origin: `http://127.0.0.1:${gateway.port}`, close() {} }),
})

const restart = {
  name: 'gateway restarted',
  settles: ['ws'],
  seconds: 12,
  within: VISIBLE_MS,
  resets: 1,
  async open() {
    // Its own: the others would notice.
    const gateway = await Gateway.start()
    const cuts = []
    return {
      gateway,
      origin: `http://127.0.0.1:${gateway.port}`,
      cuts,
      async cut() {
        await gateway.restart()
        // Nobody can be served sooner.
        cuts.push(Date.now())
      },
      close: () => gateway.stop(),
    }
  },
}

/** A gateway of its own: the others would notice. */
const alone = async () => {
  const gateway = await Gateway.start()
  return { gateway, origin: `http://127.0.0.1:${gateway.port}`, close: () => gateway.stop() }
}

const scripted = [
  obstacle('nothing in the way', {}, ['ws']),
  obstacle('Upgrade refused', { refuse: WITHOUT_WS }, ['sse'], { short: true }),
  obstacle('101, killed after 200 ms', { kill: 200 }, ['sse'], { within: VISIBLE_MS, short: true }),
  obstacle('101, frames dropped', { drop: true }, ['sse'], { short: true }),
  obstacle('SSE withheld whole', { refuse: WITHOUT_WS, hold: 'whole' }, ['poll'], { seconds: 14, short: true }),
  obstacle('SSE in blocks of 4 KiB', { refuse: WITHOUT_WS, hold: 4096 }, ['poll'], { seconds: 20, late: HELD_MS }),
  // So many events at first that the blocks are full at once.
  obstacle('SSE in blocks of 4 KiB, then fewer events', { refuse: WITHOUT_WS, hold: 4096 }, ['poll'], {
    pace: 20,
    slower: 1000,
    seconds: 20,
    late: HELD_MS,
    short: true,
  }),
  obstacle('SSE in blocks of 16 KiB', { refuse: WITHOUT_WS, hold: 16384 }, ['poll'], { seconds: 20, late: HELD_MS }),
  obstacle('SSE one message behind', { refuse: WITHOUT_WS, hold: 'one' }, ['poll', 'sse'], {
    seconds: 20,
    late: HELD_MS,
  }),
  obstacle('cut every 5 s', { cut: 5000 }, ['ws', 'sse', 'poll'], { seconds: 16, within: VISIBLE_MS, short: true }),
  obstacle('cut every 20 s', { cut: 20_000 }, ['ws', 'sse', 'poll'], { seconds: 65, within: VISIBLE_MS }),
  obstacle('half-open', {}, ['ws'], { seconds: 20, freezes: true, within: SILENT_MS, short: true }),
  obstacle('Upgrade refused, cut every 5 s', { refuse: WITHOUT_WS, cut: 5000 }, ['sse', 'poll'], {
    seconds: 25,
    within: VISIBLE_MS,
  }),
  obstacle('Upgrade refused, half-open', { refuse: WITHOUT_WS }, ['sse'], {
    seconds: 25,
    freezes: true,
    within: SILENT_MS,
  }),
  obstacle('429 for 6 s', { busy: 2 }, ['ws'], { seconds: 30, clearsAfter: 6000 }),
  // Back up without being told: the first probe comes a minute after settling below.
  obstacle('Upgrade refused for 5 s', { refuse: WITHOUT_WS }, ['ws'], { seconds: 80, clearsAfter: 5000 }),
  restart,
  {
    name: 'restarted under 500 clients',
    settles: ['ws'],
    resets: 1,
    measure: measureCrowd,
    alone: true,
    open: alone,
  },
  tabs('three tabs, the leader closed', closed, { short: true }),
  tabs('three tabs, the leader crashed', crashed, { only: 'chromium' }),
  obstacle('two tabs, the hidden leader loses its link', {}, ['ws'], {
    within: VISIBLE_MS,
    measure: measureHiddenLeader,
    only: ['firefox'],
  }),
  obstacle('another page and back', {}, ['ws'], { within: VISIBLE_MS, measure: measureBack, only: ['webkit'] }),
  obstacle('slow: 300 ms each way', { delay: 300 }, ['ws']),
]

/** A path through a product. */
const product = (name, open, settles, more = {}) => ({ name, open, settles, seconds: 12, ...more })

export const paths = [
  ...scripted,
  product('nginx, default', real.nginx(''), ['sse', 'poll'], { short: true }),
  product('nginx, for WebSocket', real.nginx(real.UPGRADE), ['ws']),
  product('nginx, 10 s timeout', real.nginx(`${real.UPGRADE} proxy_read_timeout 10s;`), ['ws'], {
    seconds: 3,
    quiet: 30,
  }),
  product('nginx, TLS and HTTP/2', real.nginx(real.UPGRADE, 'https'), ['ws']),
  product('nginx, TLS and HTTP/2, no Upgrade', real.nginx('proxy_buffering off;', 'https'), ['sse']),
  product('Apache mod_proxy_http', real.apache, ['sse']),
  product('HAProxy', real.haproxy, ['ws']),
  product('squid, http page', real.squid, ['sse']),
  product('tinyproxy, http page', real.tinyproxy, ['sse']),
]
