// WebKitGTK by its own WebDriver, in windows on a display of memory (Xvfb). A driver has one
// session, which is a profile: so each context is a driver and a browser of its own.

import { spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { build } from 'esbuild'
import { BOUND, sleep } from './gateway.js'
import { freePort } from './proxies.js'

const DRIVER = process.env.WEBKIT_DRIVER ?? '/usr/bin/WebKitWebDriver'
/** Debian keeps it in a folder of the machine's kind. */
const BROWSER = process.env.WEBKIT_BIN ?? installed('/usr/lib', '-linux-gnu', 'webkit2gtk-4.1/MiniBrowser')
const BUNDLED = new URL('../dist/index.js', import.meta.url).pathname
/** Generous, because a busy machine is no failure. */
const START_MS = 120_000
const SCRIPT_MS = 120_000
/**
 * A document of every gateway that opens no connection: scripts run in it, and its origin is the
 * path's.
 */
const DOCUMENT = '/metrics'

/** The file in the folder whose name has this ending. */
function installed(root, ending, file) {
  const folders = readdirSync(root).filter((name) => name.endsWith(ending))
  return folders.map((name) => `${root}/${name}/${file}`).find(existsSync)
}

/** @returns the number of a display that ends with this process. */
async function display() {
  const options = ['-screen', '0', '1280x1024x24', '-nolisten', 'tcp', '-displayfd', '1']
  const child = spawn(BOUND, ['Xvfb', ...options], { stdio: ['ignore', 'pipe', 'ignore'] })
  const number = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`Xvfb ended with ${code}`)))
    createInterface({ input: child.stdout }).once('line', resolve)
  })
  return { name: `:${number}`, close: () => child.kill() }
}

/** One driver with one browser: commands of WebDriver, one at a time. */
class Session {
  #last = Promise.resolve()
  #current = null

  static async start(display, forward) {
    const session = new Session()
    const port = await freePort()
    const env = { ...process.env, DISPLAY: display, GDK_BACKEND: 'x11', LIBGL_ALWAYS_SOFTWARE: '1' }
    session.child = spawn(BOUND, [DRIVER, `--port=${port}`], { stdio: 'ignore', env })
    session.address = `http://127.0.0.1:${port}`
    const proxy = forward && { proxyType: 'manual', httpProxy: new URL(forward).host, noProxy: [] }
    const alwaysMatch = {
      acceptInsecureCerts: true,
      ...(proxy && { proxy }),
      'webkitgtk:browserOptions': { binary: BROWSER, args: ['--automation'] },
    }
    const end = Date.now() + START_MS
    while (!(await fetch(`${session.address}/status`).catch(() => null))) {
      if (Date.now() > end) throw new Error('WebKitWebDriver did not start')
      await sleep(50)
    }
    const { sessionId } = await session.command('POST', '/session', { capabilities: { alwaysMatch } })
    session.address += `/session/${sessionId}`
    await session.command('POST', '/timeouts', { script: SCRIPT_MS, pageLoad: START_MS })
    return session
  }

  async command(method, path, body) {
    const answer = await fetch(this.address + path, { method, body: body && JSON.stringify(body) })
    const { value } = await answer.json()
    if (value?.error) throw new Error(`${path}: ${value.error}: ${value.message}`)
    return value
  }

  /** Runs commands in one window, with no other command between them. */
  in(handle, commands) {
    const run = async () => {
      // Only if it is another: the driver brings the tab to the front, and hides the one that was
      // there.
      if (handle !== this.#current) await this.command('POST', '/window', { handle })
      this.#current = handle
      return commands()
    }
    const result = this.#last.then(run, run)
    this.#last = result.catch(() => {})
    return result
  }

  /** No window is the current one. */
  forget() {
    this.#current = null
  }

  async close() {
    await this.command('DELETE', '').catch(() => {})
    this.child.kill()
  }
}

class Page {
  constructor(session, handle, client) {
    this.session = session
    this.handle = handle
    this.client = client
  }

  /** Exceptions of the page are not told by the driver. */
  on() {}

  async goto(url) {
    const address = new URL(DOCUMENT, url).href
    await this.session.in(this.handle, () => this.session.command('POST', '/url', { url: address }))
    await this.evaluate(`() => { ${this.client}; window.matrixClient = matrixClient }`)
  }

  /** Goes to another document, without the client. */
  leave(url) {
    return this.session.in(this.handle, () => this.session.command('POST', '/url', { url }))
  }

  back() {
    return this.session.in(this.handle, () => this.session.command('POST', '/back', {}))
  }

  async evaluate(code, value) {
    const script = `const done = arguments[1]
      Promise.resolve().then(() => (${code})(arguments[0]))
        .then((value) => done({ value }), (error) => done({ error: String(error) }))`
    const args = [value ?? null]
    const answer = await this.session.in(this.handle, () =>
      this.session.command('POST', '/execute/async', { script, args }),
    )
    if (answer.error) throw new Error(answer.error)
    return answer.value ?? undefined
  }

  close() {
    return this.session.in(this.handle, async () => {
      await this.session.command('DELETE', '/window')
      this.session.forget()
    })
  }
}

/** WebKitGTK in the shape of the other browsers. */
export async function webkit() {
  if (!BROWSER || !existsSync(DRIVER)) throw new Error('no WebKitGTK: install webkit2gtk-driver and xvfb')
  const screen = await display()
  // No request can be answered in place of the network: the client goes into the page as one
  // script.
  const bundle = await build({
    entryPoints: [BUNDLED],
    bundle: true,
    write: false,
    format: 'iife',
    globalName: 'matrixClient',
  })
  const client = bundle.outputFiles[0].text
  return {
    isComplaint: () => true,
    async context(forward) {
      const session = await Session.start(screen.name, forward)
      let first = await session.command('GET', '/window')
      return {
        async open(type = 'window') {
          const handle = first ?? (await session.command('POST', '/window/new', { type })).handle
          first = null
          return new Page(session, handle, client)
        },
        close: () => session.close(),
      }
    },
    serve: async () => async () => {},
    close: () => screen.close(),
  }
}
