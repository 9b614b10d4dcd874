// The components in Chromium: what axe-core finds, colours included, in light and dark and with the
// system's own colours; the keyboard; what is read out. `SCREENSHOTS=folder` keeps a picture of
// each state.

import { mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { chromium } from './browsers.js'
import { needBuild } from './page.js'

const require = createRequire(import.meta.url)
const file = (path) => fileURLToPath(new URL(path, import.meta.url))
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')
const ENTRIES = ['react', 'components', 'testing'].map((name) => [
  `@throughline/client/${name}`,
  file(`../dist/${name}.js`),
])
const LOOKS = [
  { name: 'light', colorScheme: 'light' },
  { name: 'dark', colorScheme: 'dark' },
  { name: 'forced colours', colorScheme: 'dark', forcedColors: 'active' },
]

const failures = []
const expect = (holds, what) => holds || failures.push(what)

async function page() {
  const { outputFiles } = await build({
    entryPoints: [file('components.page.jsx')],
    bundle: true,
    write: false,
    format: 'iife',
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"development"' },
    alias: { ...Object.fromEntries(ENTRIES), '@throughline/client': file('../dist/index.js') },
  })
  const styles = readFileSync(file('../styles.css'), 'utf8')
  // The page around a component has colours of its own, as any application's.
  const around = `:root { color-scheme: light dark } body { margin: 24px; background: Canvas; color: CanvasText }`
  return `<!doctype html><html lang="en"><title>components</title><style>${around}${styles}</style>
    <main></main><script>${outputFiles[0].text.replaceAll('</script', '<\\/script')}</script></html>`
}

/** What axe-core finds in one state. */
async function inspect(tab, story, look) {
  const violations = await tab.evaluate(async () => {
    const found = await window.axe.run(document, { resultTypes: ['violations'] })
    return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)
  })
  // A fragment of a page has neither headings nor landmarks of its own.
  const own = violations.filter((each) => !/^(region|page-has-heading-one|landmark-one-main):/.test(each))
  for (const violation of own) failures.push(`${story}, ${look}: ${violation}`)
}

/**
 * A component without style has to be as usable: words, roles and order come from it, not from the
 * style sheet.
 */
async function keyboard(tab) {
  await tab.evaluate(() => window.show('panel full'))
  await tab.keyboard.press('Tab')
  const first = await tab.evaluate(() => document.activeElement?.textContent)
  expect(first === 'Clear notifications', `the first Tab in the panel goes to “${first}”`)
  const outline = await tab.evaluate(() => getComputedStyle(document.activeElement).outlineStyle)
  expect(outline !== 'none', 'a focused button has no outline')
  await tab.keyboard.press('Enter')
  const after = await tab.evaluate(() => document.activeElement?.getAttribute('role'))
  expect(after === 'log', `after clearing by keyboard the focus is on ${after ?? 'the body'}`)
  expect(
    !(await tab.evaluate(() => document.querySelector('main').textContent.includes('Saved'))),
    'Enter did not clear',
  )
  await tab.keyboard.press('Tab')
  const second = await tab.evaluate(() => document.activeElement?.textContent)
  expect(second === 'Clear errors', `the next Tab in the panel goes to “${second}”`)
  await tab.evaluate(() => window.show('debug live'))
  await tab.keyboard.press('Tab')
  await tab.keyboard.press('Enter')
  expect(!(await tab.evaluate(() => document.querySelector('details').open)), 'Enter does not fold the debug panel')
}

/** A bar without a name says a number of nothing. */
async function named(tab) {
  await tab.evaluate(() => window.show('panel full'))
  for (const name of ['Sync', 'Generation']) {
    const bars = await tab.getByRole('progressbar', { name, exact: true }).count()
    expect(bars === 1, `${bars} progress bars are called ${name}`)
  }
  const step = await tab.locator('[aria-current=step]').textContent()
  expect(step === 'syncing', `the current step is ${step}`)
}

/** What is read out has to be in a live region that was there before. */
async function announced(tab) {
  await tab.evaluate(() => window.show('panel quiet'))
  const regions = await tab.evaluate(() => {
    window.regions = [...document.querySelectorAll('[role=status], [role=log], [role=alert]')]
    return window.regions.map((region) => region.getAttribute('role')).join()
  })
  expect(regions === 'status,log,alert', `the quiet panel has the live regions ${regions}`)
  await tab.evaluate(() =>
    window.change({
      connected: false,
      notifications: [{ id: '1', type: 'info', message: 'a word' }],
      errors: [{ id: '2', type: 'error', message: 'a failure' }],
    }),
  )
  const said = await tab.evaluate(async () => {
    await new Promise((resolve) => setTimeout(resolve, 50))
    return window.regions.map((region) => (region.isConnected ? region.textContent : 'gone'))
  })
  const [status, log, alert] = said
  expect(status?.includes('paused'), `a lost connection is not read out: ${status}`)
  expect(log?.includes('a word'), `a notification is not read out: ${log}`)
  expect(alert?.includes('a failure'), `an error is not read out: ${alert}`)
}

const startedAt = Date.now()
needBuild()
const browser = await chromium()
const html = await page()
const pictures = process.env.SCREENSHOTS
let states = 0
for (const { name, ...look } of LOOKS) {
  const context = await browser.newContext({ ...look, viewport: { width: 500, height: 640 }, deviceScaleFactor: 2 })
  const tab = await context.newPage()
  tab.on('pageerror', (error) => failures.push(String(error)))
  await tab.setContent(html)
  await tab.evaluate(AXE)
  const stories = await tab.evaluate(() => window.stories)
  for (const story of stories) {
    await tab.evaluate((story) => window.show(story), story)
    await inspect(tab, story, name)
    states += 1
    if (!pictures) continue
    mkdirSync(pictures, { recursive: true })
    await tab.screenshot({ path: `${pictures}/${name} ${story}.png`.replaceAll(/[ ,]+/g, '-') })
  }
  if (name === 'light') {
    await keyboard(tab)
    await announced(tab)
    await named(tab)
  }
  await context.close()
}
await browser.close()
for (const failure of failures) console.error(failure)
console.log(
  `components: ${states} states in ${Math.round((Date.now() - startedAt) / 1000)} s, ${failures.length} faults`,
)
process.exitCode = failures.length ? 1 : 0
