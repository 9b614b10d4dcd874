// Tabs that share one connection, in one browser profile: the leader is closed or its process dies,
// while events flow.

import { Publisher, sleep } from './gateway.js'
import { beside, count, times, until } from './measure.js'
import { open, openIn } from './page.js'

const TABS = 3
const PACE_MS = 100
const SETTLE_MS = 120_000
const CATCH_UP_MS = 120_000
const OVERLAP_MS = 2000

/** Ends a tab as its user does. */
export const closed = (page) => page.close()

/** Ends a tab as a bug or a lack of memory does: no handler of its runs. */
export async function crashed(page) {
  const devtools = await page.context().newCDPSession(page)
  const crash = new Promise((resolve) => page.once('crash', resolve))
  devtools.send('Page.crash').catch(() => {})
  await crash
}

/** The figures of the tab that fared worst; `links` are those of all tabs together. */
export async function measureTabs(browser, gateway, path) {
  const topic = `user:${path.user}`
  const first = await open(browser, path.origin)
  const tabs = [first]
  let publisher
  try {
    const start = ({ page }) =>
      page.evaluate((user) => window.matrix.start(user, undefined, { share: 'tabs' }), path.user)
    const transport = ({ page }) => page.evaluate(() => window.matrix.transport())
    await start(first)
    // It leads: the lock is its.
    await until(() => transport(first), SETTLE_MS)
    for (let index = 1; index < TABS; index += 1) {
      tabs.push(await openIn(browser, first.context, path.origin))
      await start(tabs[index])
    }
    await until(async () => (await Promise.all(tabs.map(transport))).every(Boolean), SETTLE_MS)
    await sleep(OVERLAP_MS)
    publisher = new Publisher(gateway, topic, PACE_MS)
    await sleep(3000)
    await path.end(first.page)
    const cut = Date.now()
    const rest = tabs.slice(1)
    await sleep(6000)
    await publisher.stop()
    const last = Math.max(...publisher.accepted.keys())
    const read = ({ page }) => page.evaluate(() => window.matrix.seen)
    const caughtUp = async () =>
      (await Promise.all(rest.map(read))).every(({ events }) => events.some(({ n }) => n === last))
    await until(caughtUp, CATCH_UP_MS)
    await sleep(OVERLAP_MS + 500)
    const all = await Promise.all(rest.map(read))
    const each = all.map((seen) => ({ ...count(seen, publisher.accepted), ...times(seen, publisher, [cut]) }))
    const worst = (name) => Math.max(...each.map((figures) => figures[name]))
    const names = [
      'published',
      'lost',
      'told',
      'twice',
      'reordered',
      'resets',
      'first',
      'longest',
      'afterCut',
      'heldUp',
    ]
    return {
      settledOn: (await Promise.all(rest.map(transport))).every((each) => each === 'ws') ? 'ws' : 'nothing',
      ...Object.fromEntries(names.map((name) => [name, worst(name)])),
      links: together(all, cut + OVERLAP_MS, publisher.slowest),
      complaints: tabs.flatMap(({ complaints }) => complaints),
    }
  } finally {
    await publisher?.stop()
    await first.close()
  }
}

/**
 * The links of several tabs, as those of one: how many were open for more than two seconds
 * together.
 */
function together(all, from, slowest) {
  const [own, ...others] = all.map(({ links }) => links.filter(([at]) => at >= from))
  const sum = own.map(([at, open]) => {
    const near = others.map((links) => links.findLast(([then]) => then <= at)?.[1] ?? 0)
    return [at, near.reduce((total, each) => total + each, open)]
  })
  return beside(sum, [{ type: 'transport', at: from }], slowest)
}
