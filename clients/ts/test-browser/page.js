// A page in a real browser that runs the built client, and writes down what its application sees.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const DIST = fileURLToPath(new URL('../dist', import.meta.url))
const SOURCES = fileURLToPath(new URL('../src', import.meta.url))

/** @throws Error where the build is older than the sources. */
export function needBuild() {
  const builtAt = existsSync(`${DIST}/index.js`) && statSync(`${DIST}/index.js`).mtimeMs
  const sources = readdirSync(SOURCES, { recursive: true }).filter((name) => name.endsWith('.ts'))
  const isBuilt = sources.every((name) => statSync(`${SOURCES}/${name}`).mtimeMs < builtAt)
  if (!isBuilt) throw new Error('no built client, or an old one: `npm run build` first')
}

/**
 * Opens a page whose origin is the path, in a profile of its own. The document and the client come
 * from the disk, so that the first request that meets the obstacle is the client's own.
 * @param forward the address of a forward proxy, which then carries everything, loopback included.
 */
export async function open(browser, origin, forward) {
  const context = await browser.context(forward)
  return { ...(await openIn(browser, context, origin)), context, close: () => context.close() }
}

/**
 * One more page in the same profile.
 * @param kind `window`, or `tab`: in front of the others of the first window, which it hides.
 */
export async function openIn(browser, context, origin, kind = 'window') {
  const page = await context.open(kind)
  const complaints = []
  page.on('pageerror', (error) => browser.isComplaint(String(error)) && complaints.push(String(error)))
  await load(browser, page, origin)
  return { page, complaints }
}

/** Loads the document and the client, also once more, into a page that is there. */
export async function load(browser, page, origin) {
  const stopServing = await browser.serve(page, (url) => answer(new URL(url), origin))
  await page.goto(`${origin}/matrix`)
  await page.evaluate(prepare, partsOf('index.js'))
  await stopServing()
}

/** A file of the build, and all that it imports at once or later. */
function partsOf(name, found = []) {
  if (found.includes(name)) return found
  found.push(name)
  const code = readFileSync(`${DIST}/${name}`, 'utf8')
  for (const [, imported] of code.matchAll(/["'`]\.\/([\w-]+\.js)["'`]/g)) partsOf(imported, found)
  return found
}

function answer(url, origin) {
  const [, name] = /^\/matrix\/?(.*)$/.exec(url.pathname) ?? []
  if (url.origin !== origin || name === undefined) return null
  return name
    ? { contentType: 'text/javascript', body: readFileSync(`${DIST}/${name}`, 'utf8') }
    : { contentType: 'text/html', body: '<!doctype html><title>matrix</title>' }
}

/**
 * In the page: counts the links that the client holds, from outside of it, and loads the client in
 * all its parts.
 */
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
      for (const whole of ['text', 'json']) {
        const read = response[whole].bind(response)
        response[whole] = () => read().finally(ended)
      }
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
  // A browser whose requests cannot be answered from the disk has the client in its document
  // already.
  if (!window.matrixClient) for (const name of chunks) await import(`/matrix/${name}`)
  const { createClient } = window.matrixClient ?? (await import('/matrix/index.js'))
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
