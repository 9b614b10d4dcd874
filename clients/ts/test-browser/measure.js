// Runs the client through one path while events are published past it, and turns what was seen into
// figures.

import { Publisher, sleep } from './gateway.js'
import { open } from './page.js'

/**
 * Five a second: a quiet path stays within the 256 events that the gateway keeps of a topic for 50
 * s.
 */
const PACE_MS = 200
/** Generous, because a busy machine is no failure. What is measured is not rounded by it. */
const SETTLE_MS = 120_000
const CATCH_UP_MS = 120_000
const RETURN_MS = 120_000
const STEP_MS = 50
/** How often the page looks at its links, and how exact its timers are on a quiet machine. */
const LOOK_MS = 50
const JITTER_MS = 20
/** Links may overlap for this long. */
const OVERLAP_MS = 2000

export async function until(holds, ms) {
  const end = Date.now() + ms
  while (!(await holds())) {
    if (Date.now() > end) return false
    await sleep(STEP_MS)
  }
  return true
}

/**
 * @param path.origin where the page and the gateway seem to be.
 * @param path.forward a forward proxy of the browser.
 * @param path.user whose events these are.
 * @param path.seconds how long to publish once settled.
 * @param path.pace milliseconds between events; a fifth of a second when left out.
 * @param path.slower that again, for as long again.
 * @param path.quiet seconds without an event after that, and then as long again with them.
 * @param path.cut called when settled; the silent cut or the restart.
 * @param path.cuts the times of the cuts, filled while it runs.
 * @param path.remove takes the obstacle away.
 */
export async function measure(browser, gateway, path) {
  const topic = `user:${path.user}`
  const { cursor } = await gateway.publish(topic, { n: 0, at: Date.now() })
  const { page, complaints, close } = await open(browser, path.origin, path.forward)
  try {
    const publisher = new Publisher(gateway, topic, path.pace ?? PACE_MS)
    await page.evaluate(([user, after]) => window.matrix.start(user, after), [path.user, cursor])
    const transport = () => page.evaluate(() => window.matrix.transport())
    const read = () => page.evaluate(() => window.matrix.seen)
    await until(async () => (await read()).events.length > 0 && (await transport()), SETTLE_MS)
    await path.cut?.()
    await sleep(path.seconds * 1000)
    if (path.quiet) {
      // Nothing but heartbeats: what cuts quiet streams shows itself here.
      publisher.pause()
      await sleep(path.quiet * 1000)
      publisher.resume()
      await sleep(path.seconds * 1000)
    }
    if (path.slower) {
      publisher.everyMs = path.slower
      await sleep(path.seconds * 1000)
    }
    await publisher.stop()
    const last = Math.max(...publisher.accepted.keys())
    await until(async () => (await read()).events.some(({ n }) => n === last), CATCH_UP_MS)
    // So that the last change, too, is followed by a look.
    await sleep(OVERLAP_MS + 500)
    // On a path that cuts, this moment may lie between two links.
    await until(transport, SETTLE_MS)
    const settledOn = await transport()
    const seen = await read()
    const figures = { ...count(seen, publisher.accepted), ...times(seen, publisher, path.cuts ?? []) }
    return { settledOn, ...figures, back: await back(page, path, transport), complaints }
  } finally {
    await close()
  }
}

/** Whether each event came, once and in order. */
export function count({ events, resets }, accepted) {
  const times = new Map()
  for (const { n } of events) times.set(n, (times.get(n) ?? 0) + 1)
  const missing = [...accepted].filter(([n]) => !times.has(n))
  // What a reset told the application to fetch anew is not lost in silence.
  const told = missing.filter(([, at]) => resets.some((reset) => reset.at >= at))
  return {
    published: accepted.size,
    lost: missing.length - told.length,
    told: told.length,
    twice: [...times.values()].filter((seen) => seen > 1).length,
    reordered: events.filter(({ n }, index) => index > 0 && n < events[index - 1].n).length,
    resets: resets.length,
  }
}

/**
 * How much later than asked for the page was woken to look, in all: what the machine did for others
 * meanwhile.
 * @param links the looks, as the page took them.
 */
export function heldUp(links) {
  const late = links.slice(1).map(([at], index) => at - links[index][0] - LOOK_MS - JITTER_MS)
  return late.reduce((sum, ms) => sum + Math.max(0, ms), 0)
}

/** Milliseconds, and the number of links once things had settled. */
export function times({ events, reports, links, startedAt }, { accepted, slowest }, cuts) {
  const gaps = cuts.map((cut) => {
    const after = events.filter(({ n, at }) => at >= cut && (accepted.get(n) ?? 0) >= cut)
    return after.length ? Math.min(...after.map(({ at }) => at)) - cut : null
  })
  return {
    first: events.length ? events[0].at - startedAt : null,
    longest: events.length ? Math.max(...events.map(({ ms }) => ms)) : null,
    // A cut after the last event was published shows nothing.
    afterCut: gaps.some((gap) => gap !== null) ? Math.max(...gaps.filter((gap) => gap !== null)) : null,
    links: beside(links, reports, slowest),
    heldUp: heldUp(links) + slowest,
  }
}

/**
 * The most links that were open for more than two seconds together once there was a first choice. A
 * client gives the second link five times what the first took to answer: longer where the gateway
 * is slow.
 */
export function beside(links, reports, slowest) {
  const settledAt = reports.find(({ type }) => type === 'transport')?.at ?? Infinity
  const samples = links.filter(([at]) => at >= settledAt)
  let most = 0
  samples.forEach(([at], first) => {
    const end = samples.findIndex(([later]) => later > at + OVERLAP_MS + 5 * slowest)
    if (end > first) most = Math.max(most, Math.min(...samples.slice(first, end + 1).map(([, open]) => open)))
  })
  return most
}

/**
 * Takes the obstacle away and tells the page that its network changed.
 * @returns milliseconds until WebSocket.
 */
async function back(page, path, transport) {
  if (!path.remove) return undefined
  path.remove()
  const start = Date.now()
  await page.evaluate(() => window.dispatchEvent(new Event('online')))
  return (await until(async () => (await transport()) === 'ws', RETURN_MS)) ? Date.now() - start : null
}
