// The browsers that the matrix runs in, behind one shape: a browser has contexts (profiles), a
// context has pages, and a page evaluates functions. Chromium by Playwright, which cannot drive an
// installed Firefox; Firefox by Puppeteer over WebDriver BiDi; WebKitGTK by its own driver.

import { existsSync } from 'node:fs'
import { chromium as playwright } from 'playwright-core'
import puppeteer from 'puppeteer-core'
import { webkit } from './webkit.js'

const CHROMIUM = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium'
const FIREFOX = process.env.FIREFOX_BIN ?? '/usr/bin/firefox-esr'
const ARGUMENTS = [
  '--no-sandbox',
  '--headless',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]
/** Generous, because a busy machine is no failure. */
const START_MS = 120_000

function need(executable, name) {
  if (!existsSync(executable))
    throw new Error(`no ${name} at ${executable}: install it or set ${name.toUpperCase()}_BIN`)
}

/** Playwright's Chromium itself, for what only it can do. */
export function chromium() {
  need(CHROMIUM, 'Chromium')
  return playwright.launch({ executablePath: CHROMIUM, args: ARGUMENTS, timeout: START_MS })
}

const BROWSERS = {
  webkit,

  async chromium() {
    const browser = await chromium()
    return {
      isComplaint: () => true,
      async context(forward) {
        const proxy = forward && { server: forward, bypass: '<-loopback>' }
        // A document that did not come over loopback needs leave to open sockets there.
        const permissions = ['local-network-access']
        // A proxy with TLS has a certificate of its own making.
        const context = await browser.newContext({ proxy, permissions, ignoreHTTPSErrors: true })
        return { open: () => context.newPage(), close: () => context.close() }
      },
      /** Answers a page's requests by `answer(url)`, until the returned function is called. */
      async serve(page, answer) {
        await page.route('**', (route) => {
          const answered = answer(route.request().url())
          return answered ? route.fulfill(answered) : route.continue()
        })
        return () => page.unrouteAll()
      },
      close: () => browser.close(),
    }
  },

  async firefox() {
    need(FIREFOX, 'Firefox')
    const extraPrefsFirefox = { 'network.proxy.allow_hijacking_localhost': true }
    const browser = await puppeteer.launch({
      browser: 'firefox',
      executablePath: FIREFOX,
      acceptInsecureCerts: true,
      extraPrefsFirefox,
      timeout: START_MS,
      protocolTimeout: START_MS,
    })
    return {
      // Firefox reports a WebSocket that cannot be opened, or is cut, like an exception of the
      // page.
      isComplaint: (error) => !/^Error: (Firefox can’t establish a connection|The connection to ws)/.test(error),
      async context(forward) {
        const context = await browser.createBrowserContext({ proxyServer: forward })
        // All tabs of a window but one are hidden, and the client does little in a hidden page.
        return { open: (type = 'window') => context.newPage({ type }), close: () => context.close() }
      },
      async serve(page, answer) {
        await page.setRequestInterception(true)
        page.on('request', (request) => {
          const answered = answer(request.url())
          return answered ? request.respond(answered) : request.continue()
        })
        return async () => {
          page.removeAllListeners('request')
          await page.setRequestInterception(false)
        }
      },
      close: () => browser.close(),
    }
  },
}

/** @param name `chromium`, `firefox` or `webkit`. */
export function launch(name) {
  const start = BROWSERS[name]
  if (!start) throw new Error(`no browser ${name}: one of ${Object.keys(BROWSERS).join(', ')}`)
  return start()
}
