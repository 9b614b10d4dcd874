// Tabs that are really hidden, and a page that really goes into the back/forward cache: for
// browsers that do as they do for a user. Chromium by Playwright shows every tab, and loads a page
// that is gone back to anew.

import { Publisher, sleep } from './gateway.js'
import { count, times, until } from './measure.js'
import { open, openIn } from './page.js'

const PACE_MS = 100
const SETTLE_MS = 120_000
const CATCH_UP_MS = 120_000
/** How long the page is away: longer than the gateway's grace for members would be of use. */
const AWAY_MS = 4000

const transportOf = ({ page }) => page.evaluate(() => window.matrix.transport())
const read = ({ page }) => page.evaluate(() => window.matrix.seen)

/** Waits for the last event, and turns what a page saw into figures. */
async function figuresOf(tab, publisher, cut, complaints) {
  await publisher.stop()
  const last = Math.max(...publisher.accepted.keys())
  await until(async () => (await read(tab)).events.some(({ n }) => n === last), CATCH_UP_MS)
  await until(() => transportOf(tab), SETTLE_MS)
  const seen = await read(tab)
  const settledOn = await transportOf(tab)
  return { settledOn, ...count(seen, publisher.accepted), ...times(seen, publisher, [cut]), links: 1, complaints }
}

/** In the page: answers another tab. To ask a tab by the driver may bring it to the front. */
function tellVisibility() {
  const channel = new BroadcastChannel('visibility')
  channel.onmessage = ({ data }) => data === 'ask' && channel.postMessage(document.visibilityState)
}

function isOtherHidden() {
  const channel = new BroadcastChannel('visibility')
  return new Promise((resolve) => {
    channel.onmessage = ({ data }) => data !== 'ask' && resolve(data === 'hidden')
    channel.postMessage('ask')
    setTimeout(resolve, 2000, false)
  }).finally(() => channel.close())
}

/**
 * Two tabs share a connection. The one that has it is behind the other, and loses it: the one in
 * front goes on.
 */
export async function measureHiddenLeader(browser, gateway, path) {
  const first = await open(browser, path.origin)
  let publisher
  try {
    const start = ({ page }) =>
      page.evaluate((user) => window.matrix.start(user, undefined, { share: 'tabs' }), path.user)
    await first.page.evaluate(tellVisibility)
    await start(first)
    await until(() => transportOf(first), SETTLE_MS)
    const front = await openIn(browser, first.context, path.origin, 'tab')
    await start(front)
    await until(() => transportOf(front), SETTLE_MS)
    if (!(await until(() => front.page.evaluate(isOtherHidden), SETTLE_MS))) throw new Error('no tab is hidden')
    publisher = new Publisher(gateway, `user:${path.user}`, PACE_MS)
    await sleep(3000)
    path.reset()
    const cut = Date.now()
    await sleep(8000)
    return await figuresOf(front, publisher, cut, [...first.complaints, ...front.complaints])
  } finally {
    await publisher?.stop()
    await first.close()
  }
}

/**
 * The page goes to another document and comes back out of the cache, as it was: it goes on where it
 * stopped.
 */
export async function measureBack(browser, gateway, path) {
  const topic = `user:${path.user}`
  const { cursor } = await gateway.publish(topic, { n: 0, at: Date.now() })
  const tab = await open(browser, path.origin)
  const publisher = new Publisher(gateway, topic, PACE_MS)
  try {
    await tab.page.evaluate(([user, after]) => window.matrix.start(user, after), [path.user, cursor])
    await until(async () => (await read(tab)).events.length > 0 && (await transportOf(tab)), SETTLE_MS)
    await tab.page.leave(`${path.origin}/health`)
    await sleep(AWAY_MS)
    await tab.page.back()
    const isKept = await tab.page.evaluate(() => window.matrix !== undefined)
    if (!isKept) throw new Error('the page was loaded anew: nothing of the cache is tested')
    const back = Date.now()
    await sleep(4000)
    return await figuresOf(tab, publisher, back, tab.complaints)
  } finally {
    await publisher.stop()
    await tab.close()
  }
}
