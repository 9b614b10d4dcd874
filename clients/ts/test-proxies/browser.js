// The built client in a real browser behind a proxy: which transport it settles on, and what
// becomes of page loads.

import { until } from '../test-browser/measure.js'
import { load } from '../test-browser/page.js'

const LOADS = 24
/**
 * The client needs some seconds where a transport opens and stays silent; the rest is for a busy
 * machine.
 */
const SETTLE_MS = 60_000
/** Where a transport was slow at first, the client tries it again after a minute. */
const CLIMB_MS = 150_000

/**
 * Loads a page again and again, as a user does, and asks the last one.
 * @param options `user`, `token` or `cookie` of the client, how many `loads` come before the one
 * that is asked,
 *   and the transport that is `wanted` in the end.
 * @returns the transport that it settled on.
 */
export async function settle(browser, origin, publish, options) {
  const context = await browser.context()
  try {
    const page = await context.open()
    const begin = async () => {
      await load(browser, page, origin)
      await page.evaluate(({ user, token, cookie }) => {
        // biome-ignore lint/suspicious/noDocumentCookie: a page that can be loaded over http has no cookieStore everywhere
        if (cookie) document.cookie = `throughline_token=${cookie}; path=/`
        window.matrix.start(user, undefined, token && { getToken: () => token })
      }, options)
      const transport = () => page.evaluate(() => window.matrix.transport())
      if (!(await until(transport, SETTLE_MS))) throw new Error('the client found no transport')
      return transport
    }
    for (let n = 0; n < (options.loads ?? LOADS); n += 1) await begin()
    const transport = await begin()
    await publish({ n: 'last', at: Date.now() })
    const arrived = () => page.evaluate(() => window.matrix.seen.events.some(({ n }) => n === 'last'))
    if (!(await until(arrived, SETTLE_MS))) throw new Error('the client got no event')
    // Two seconds, as long as two transports may be open beside each other before the client
    // chooses.
    await page.waitForTimeout(2500)
    await until(transport, SETTLE_MS)
    if (options.wanted) await until(async () => (await transport()) === options.wanted, CLIMB_MS)
    return await transport()
  } finally {
    await context.close()
  }
}
