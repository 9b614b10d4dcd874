// A page in real Chromium that runs the built client, and writes down what its application sees.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'

const EXECUTABLE = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium'
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
const BUNDLE = fileURLToPath(new URL('../dist/index.js', import.meta.url))
const SOURCES = fileURLToPath(new URL('../src/core', import.meta.url))

export function launch() {
  if (!existsSync(EXECUTABLE)) throw new Error(`no Chromium at ${EXECUTABLE}: install it or set CHROMIUM_BIN`)
  if (!built()) throw new Error('no built client, or an old one: `npm run build` first')
  return chromium.launch({ executablePath: EXECUTABLE, args: ARGUMENTS })
}

function built() {
  const changedAt = (file) => statSync(file).mtimeMs
  return existsSync(BUNDLE) && readdirSync(SOURCES).every((name) => changedAt(`${SOURCES}/${name}`) < changedAt(BUNDLE))
}

/**
 * Opens a page whose origin is the path. The document and the bundle come from the disk, so that the first request
 * that meets the obstacle is the client's own.
 * @param forward the address of a forward proxy, which then carries everything, loopback included.
 */
export async function open(browser, origin, forward) {
  const proxy = forward && { server: forward, bypass: '<-loopback>' }
  // A document that did not come over loopback needs leave to open sockets there.
  const context = await browser.newContext({ proxy, permissions: ['local-network-access'] })
  const page = await context.newPage()
  const complaints = []
  page.on('pageerror', (error) => complaints.push(String(error)))
  const files = {
    '/matrix': ['text/html', '<!doctype html><title>matrix</title>'],
    '/matrix/client.js': ['text/javascript', readFileSync(BUNDLE, 'utf8')],
  }
  await context.route(`${origin}/matrix{,/*}`, (route) => serve(route, files))
  await page.goto(`${origin}/matrix`)
  await page.evaluate(prepare)
  await context.unrouteAll()
  return { page, complaints, close: () => context.close() }
}

function serve(route, files) {
  const [contentType, body] = files[new URL(route.request().url()).pathname]
  return route.fulfill({ contentType, body })
}

/** In the page: counts the links that the client holds, from outside of it, and loads the client. */
async function prepare() {
  const SAMPLE_MS = 50
  const sockets = new Set()
  const requests = new Set()
  window.WebSocket = class extends WebSocket {
    constructor(...given) {
      super(...given)
      sockets.add(this)
    }
  }
  const fetchPlain = window.fetch
  window.fetch = async (url, init) => {
    if (!/\/v1\/(sse|poll)/.test(url)) return fetchPlain(url, init)
    const request = {}
    const ended = () => requests.delete(request)
    requests.add(request)
    init?.signal?.addEventListener('abort', ended)
    try {
      const response = await fetchPlain(url, init)
      const { body } = response
      const text = response.text.bind(response)
      response.text = () => text().finally(ended)
      const readerOf = body?.getReader.bind(body)
      if (body) {
        body.getReader = (...options) => {
          const reader = readerOf(...options)
          reader.closed.then(ended, ended)
          return reader
        }
      }
      if (!response.ok) ended()
      return response
    } catch (error) {
      ended()
      throw error
    }
  }
  const seen = { events: [], resets: [], reports: [], links: [], startedAt: 0 }
  const { createClient } = await import('/matrix/client.js')
  window.matrix = {
    seen,
    start(user, after) {
      const telemetry = (report) => seen.reports.push({ at: Date.now(), ...report })
      seen.startedAt = Date.now()
      const client = createClient({ user, after, telemetry })
      client.onAny(({ seq, data }) => seen.events.push({ n: data.n, seq, at: Date.now(), ms: Date.now() - data.at }))
      client.onReset(({ reason }) => seen.resets.push({ reason, at: Date.now() }))
      window.matrix.transport = () => client.state.transport
      setInterval(() => {
        const open = [...sockets].filter(({ readyState }) => readyState < 2).length
        seen.links.push([Date.now(), open + requests.size])
      }, SAMPLE_MS)
    },
  }
}
