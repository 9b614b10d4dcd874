// Plays every scenario with every library against a gateway, prints one table, and names what has changed.

import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'

import { libraries } from './libraries.mjs'
import { play, scenarios } from './scenarios.mjs'
import { changes, key, render, update } from './table.mjs'

const { values: options } = parseArgs({
  options: {
    gateway: { type: 'string' },
    jobs: { type: 'string', default: '8' },
    only: { type: 'string', default: '' },
    scenarios: { type: 'string' },
    short: { type: 'boolean', default: false },
    update: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
  },
})

const whole = Object.keys(scenarios)
const brief = ['listen', 'text', 'cuts', 'catchup', 'kill', 'refused']
const names = options.scenarios?.split(',') ?? (options.short ? brief : whole)
const isInstalled = (library) =>
  existsSync(library.command.find((word) => word.includes('target/interop')).split(':')[0])
const chosen = libraries.filter((library) => key(library).includes(options.only) && (!options.short || library.isShort))
const played = chosen.filter(isInstalled)
const results = new Map(played.map((library) => [key(library), {}]))

// The long scenarios first, so that the last ones to end are short.
const work = names.toReversed().flatMap((name) => played.map((library) => ({ name, library })))
const total = work.length
const began = Date.now()
const logs = new Map()

async function worker() {
  for (let item = work.shift(); item; item = work.shift()) {
    const { name, library } = item
    const { cell, log } = await play(name, library, options.gateway)
    results.get(key(library))[name] = cell
    logs.set(`${key(library)}, ${name}`, log)
    if (process.stderr.isTTY) process.stderr.write(`\r${total - work.length}/${total} `)
    if (options.verbose) console.error(`${key(library)}, ${name}: ${cell}`)
  }
}
await Promise.all(Array.from({ length: Number(options.jobs) }, worker))

console.log(render(results, names))
console.log(`${played.length} libraries, ${total} runs in ${Math.round((Date.now() - began) / 1000)} s`)
for (const library of chosen) if (!played.includes(library)) console.log(`left out, not installed: ${key(library)}`)
if (options.update) update(results, libraries.map(key), whole)
const changed = changes(results)
for (const { library, name, was, is } of changed) {
  console.log(`CHANGED ${library}, ${name}: expected "${was}", is "${is}"`)
  for (const said of logs.get(`${library}, ${name}`).slice(-12)) console.log(`    ${said.trim().slice(0, 200)}`)
}
process.exitCode = changed.length || !played.length ? 1 : 0
