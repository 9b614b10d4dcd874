// The matrix: every path, one table, and what has to hold on each.
// `node test-browser/run.js [--short] [--firefox | --webkit] [words of a path's name]`

import { launch } from './browsers.js'
import { Gateway } from './gateway.js'
import { measure } from './measure.js'
import { needBuild } from './page.js'
import { paths } from './paths.js'
import { table } from './table.js'
import { wrong } from './verdict.js'

const given = process.argv.slice(2)
const isShort = given.includes('--short')
const browserName = ['firefox', 'webkit'].find((name) => given.includes(`--${name}`)) ?? 'chromium'
const words = given.filter((word) => !word.startsWith('--'))
const isChosen = ({ name, short, only = browserName }) =>
  (short || !isShort) && only.includes(browserName) && words.every((word) => name.includes(word))
const chosen = paths.filter(isChosen)
/** So many at a time: the machine is part of what is measured. */
const ABREAST = Number(process.env.MATRIX_ABREAST ?? 4)

async function through(browser, shared, path, index) {
  let way
  try {
    way = await path.open(shared)
    const details = { ...path, ...way, user: `matrix-${index}` }
    const figures = await (path.measure ?? measure)(browser, way.gateway ?? shared, details)
    return { path, figures, wrong: wrong(path, figures) }
  } catch (error) {
    return { path, figures: null, wrong: [String(error.stack ?? error)] }
  } finally {
    await way?.close()
  }
}

needBuild()
const startedAt = Date.now()
const gateway = await Gateway.start()
const browser = await launch(browserName)
const results = []
const all = [...chosen.entries()]
const waiting = all.filter(([, { alone }]) => !alone)
async function work() {
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    const [index, path] = next
    results[index] = await through(browser, gateway, path, index)
  }
}
await Promise.all(Array.from({ length: ABREAST }, work))
waiting.push(...all.filter(([, { alone }]) => alone))
await work()
await browser.close()
await gateway.stop()

console.log(table(results))
console.log(
  `\n${results.length} paths in ${browserName} in ${Math.round((Date.now() - startedAt) / 1000)} s, ${ABREAST} at a time`,
)
const failures = results.flatMap(({ path, wrong }) => wrong.map((what) => `${path.name}: ${what}`))
for (const failure of failures) console.error(failure)
process.exitCode = failures.length ? 1 : 0
