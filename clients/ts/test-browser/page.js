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
const DIST = fileURLToPath(new URL('../dist', import.meta.url))
const SOURCES = fileURLToPath(new URL('../src', import.meta.url))

export function launch() {
  if (!existsSync(EXECUTABLE)) throw new Error(`no Chromium at ${EXECUTABLE}: install it or set CHROMIUM_BIN`)
  if (!built()) throw new Error('no built client, or an old one: `npm run build` first')
  return chromium.launch({ executablePath: EXECUTABLE, args: ARGUMENTS })
}

function built() {
  const builtAt = existsSync(`${DIST}/index.js`) && statSync(`${DIST}/index.js`).mtimeMs
  const sources = readdirSync(SOURCES, { recursive: true }).filter((name) => name.endsWith('.ts'))
  return sources.every((name) => statSync(`${SOURCES}/${name}`).mtimeMs < builtAt)
}

/**
 * Opens a page whose origin is the path. The document and the client come from the disk, so that the first request
 * that meets the obstacle is the client's own.
 * @param forward the address of a forward proxy, which then carries everything, loopback included.
 */
export async function open(browser, origin, forward) {
  const proxy = forward && { server: forward, bypass: '<-loopback>' }
  // A document that did not come over loopback needs leave to open sockets there.
  const permissions = ['local-network-access']
  // A proxy with TLS has a certificate of its own making.
  const context = await browser.newContext({ proxy, permissions, ignoreHTTPSErrors: true })
  return { ...(await openIn(context, origin)), close: () => context.close() }
}

/** One more page in the same browser profile. */
export async function openIn(context, origin) {
  const page = await context.newPage()
  const complaints = []
  page.on('pageerror', (error) => complaints.push(String(error)))
  const chunks = readdirSync(DIST).filter((name) => name.endsWith('.js'))
  await page.route(`${origin}/matrix{,/*}`, (route) => serve(route))
  await page.goto(`${origin}/matrix`)
  await page.evaluate(
    prepare,
    chunks.filter((name) => /^(index|tabs|requests)/.test(name)),
  )
  await page.unrouteAll()
  return { page, complaints }
}

function serve(route) {
  const name = new URL(route.request().url()).pathname.slice('/matrix/'.length)
  return name
    ? route.fulfill({ contentType: 'text/javascript', body: readFileSync(`${DIST}/${name}`, 'utf8') })
    : route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>matrix</title>' })
}

/** In the page: counts the links that the client holds, from outside of it, and loads the client in all its parts. */
async function prepare(chunks) {
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
  for (const name of chunks) await import(`/matrix/${name}`)
  const { createClient } = await import('/matrix/index.js')
  window.matrix = {
    seen,
    start(user, after, options) {
      const telemetry = (report) => seen.reports.push({ at: Date.now(), ...report })
      seen.startedAt = Date.now()
      const client = createClient({ user, after, telemetry, ...options })
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
