// Real proxies with the lines of docs/proxies.md in front of the real gateway: one table, and what
// differs from the page's own. `node test-proxies/run.js [--short] [--plain] [words of a proxy's
// name]`; `--short` is a few of them without the long waits, `--plain` runs the lines that a user
// writes without that page, and judges nothing.

import { launch } from '../test-browser/browsers.js'
import { Gateway } from '../test-browser/gateway.js'
import { needBuild } from '../test-browser/page.js'
import { freePort } from '../test-browser/proxies.js'
import { settle } from './browser.js'
import * as checks from './checks.js'
import { claims, placed, section } from './document.js'
import { applications } from './set-ups/applications.js'
import { development } from './set-ups/development.js'
import { servers } from './set-ups/servers.js'
import { start } from './start.js'
import { NAMES, row, table } from './table.js'
import { KEY, SECRET, tokenOf, User } from './user.js'

const given = process.argv.slice(2)
const isShort = given.includes('--short')
const isPlain = given.includes('--plain')
const words = given.filter((word) => !word.startsWith('--'))
/** So many at a time: the machine is part of what is measured. */
const ABREAST = Number(process.env.PROXIES_ABREAST ?? 3)
const DEVELOPMENT_KEY = 'dev'

const claimed = claims()
const isChosen = ({ name, short, section, plain }) =>
  (short || !isShort) && (isPlain ? plain : section) && words.every((word) => name.includes(word))
const chosen = [...development, ...applications, ...servers].filter(isChosen)

/** The lines to run, and the gateway's options that belong to them. */
function linesOf(setUp) {
  const documented = setUp.section && section(setUp.section)
  if (!isPlain) return documented
  if (setUp.plain === 'documented') return { files: documented.files, options: [] }
  const files = typeof setUp.plain === 'function' ? setUp.plain(documented.files) : setUp.plain
  return { files, options: [] }
}

/** Runs named checks at once. @returns what each saw, or the text of what is wrong. */
async function all(named) {
  const seen = {}
  const one = async ([name, check]) => {
    try {
      seen[name] = { value: await check() }
    } catch (error) {
      seen[name] = { wrong: error.message }
    }
  }
  await Promise.all(Object.entries(named).map(one))
  return seen
}

/** Everything with the cookie or the token of a page, as in production. */
async function inProduction(browser, gateway, port, mayUpgrade, wanted) {
  const raw = (check) => () => check(gateway, (name) => new User(name, port, false))
  const origin = `http://127.0.0.1:${port}`
  const page = (user, options) => () =>
    settle(browser, origin, (data) => gateway.publish(`user:${user}`, data), { ...options, wanted })
  const upgraded = {
    ws: raw(checks.ws),
    bearer: raw(checks.bearer),
    ...(!isShort && { quietWs: raw(checks.quiet('ws')) }),
    loadsWs: raw(checks.loads('ws')),
  }
  return all({
    sse: raw(checks.sse),
    ...(!isShort && { poll: raw(checks.poll), quietSse: raw(checks.quiet('sse')) }),
    loadsSse: raw(checks.loads('sse')),
    loadsPoll: raw(checks.pollLoads),
    ...(mayUpgrade && upgraded),
    cookie: page('page-cookie', { cookie: tokenOf('page-cookie') }),
    token: page('page-token', { token: tokenOf('page-token'), loads: 0 }),
  })
}

/** The first minutes of a developer: a name in place of a token, and no option at all. */
async function inDevelopment(browser, gateway, port, mayUpgrade, wanted) {
  const raw = (check) => () => check(gateway, (name) => new User(name, port, true))
  const publish = (data) => gateway.publish('user:page', data)
  return all({
    devSse: raw(checks.sse),
    ...(mayUpgrade && { devWs: raw(checks.ws) }),
    dev: () => settle(browser, `http://127.0.0.1:${port}`, publish, { user: 'page', loads: 0, wanted }),
  })
}

async function through(browser, setUp) {
  const { files, options } = linesOf(setUp)
  const version = typeof setUp.version === 'function' ? await setUp.version() : setUp.version
  const claim = claimed.get(setUp.name)
  const wanted = isPlain ? undefined : Object.keys(NAMES).find((name) => NAMES[name] === claim?.transport)
  const mayUpgrade = isPlain || claim?.transport !== 'SSE'
  const port = await freePort()
  const keys = ['--jwt-secret', SECRET, '--publish-key', KEY]
  const placedOptions = options.map((option) => placed(option, port, 0))
  const gateway = await Gateway.start('127.0.0.1:0', ['serve', ...keys, ...placedOptions])
  gateway.key = KEY
  let proxy
  try {
    proxy = await start(setUp, files, port, gateway.port)
    const produced = await inProduction(browser, gateway, port, mayUpgrade, wanted)
    await gateway.stop()
    await gateway.spawn(`127.0.0.1:${gateway.port}`, ['dev'])
    gateway.key = DEVELOPMENT_KEY
    const developed = await inDevelopment(browser, gateway, port, mayUpgrade, wanted)
    return row(setUp, version, claim, { ...produced, ...developed })
  } catch (error) {
    return row(setUp, version, claim, { start: { wrong: error.message } })
  } finally {
    await proxy?.close()
    await gateway.stop()
  }
}

needBuild()
const startedAt = Date.now()
const browser = await launch('chromium')
const rows = []
const waiting = [...chosen.entries()]
async function work() {
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    const [index, setUp] = next
    rows[index] = await through(browser, setUp)
    const { wrong } = rows[index]
    console.error([`${wrong.length ? 'DIFFERENT' : 'ok'}  ${setUp.name}`, ...wrong].join('\n    '))
  }
}
await Promise.all(Array.from({ length: ABREAST }, work))
await browser.close()

console.log(table(rows))
console.log(`\n${rows.length} proxies in ${Math.round((Date.now() - startedAt) / 1000)} s, ${ABREAST} at a time`)
const different = rows.filter(({ wrong }) => wrong.length).map(({ name }) => name)
if (different.length) console.log(`different from docs/proxies.md, as said above: ${different.join(', ')}`)
process.exitCode = different.length && !isPlain ? 1 : 0
