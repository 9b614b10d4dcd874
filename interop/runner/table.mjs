// The table of a run, and the one that is expected.

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { sources } from './paths.mjs'

const file = join(sources, 'EXPECTED.md')

export const key = (library) => `${library.language} ${library.transport} ${library.label}`

/** Results by library, each by scenario, as a table of Markdown. */
export function render(results, scenarios) {
  const header = ['library', ...scenarios]
  const rows = [...results].map(([library, cells]) => [library, ...scenarios.map((name) => cells[name] ?? '')])
  const widths = header.map((_, at) => Math.max(...[header, ...rows].map((row) => row[at].length)))
  const line = (row) => `| ${row.map((cell, at) => cell.padEnd(widths[at])).join(' | ')} |`
  return [line(header), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...rows.map(line)].join('\n')
}

/** The expected results, by library and scenario. */
export function expected() {
  const results = new Map()
  if (!existsSync(file)) return results
  const rows = readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) =>
      line
        .slice(2, -2)
        .split(' | ')
        .map((cell) => cell.trim()),
    )
  const [[, ...scenarios], , ...libraries] = rows
  for (const [library, ...cells] of libraries) {
    results.set(library, Object.fromEntries(scenarios.map((name, at) => [name, cells[at]])))
  }
  return results
}

/** Writes a run's results over the expected ones. */
export function update(results, order, scenarios) {
  const merged = new Map()
  const before = expected()
  for (const library of order) {
    const cells = { ...before.get(library) }
    for (const [name, is] of Object.entries(results.get(library) ?? {})) {
      if (!cells[name]?.split(' or ').includes(is)) cells[name] = is
    }
    if (Object.keys(cells).length) merged.set(library, cells)
  }
  const text = readFileSync(file, 'utf8')
  writeFileSync(file, `${text.slice(0, text.indexOf('| library'))}${render(merged, scenarios)}\n`)
}

/** What differs from the expected table. */
export function changes(results) {
  const before = expected()
  return [...results].flatMap(([library, cells]) =>
    Object.entries(cells)
      .map(([name, is]) => ({ library, name, was: before.get(library)?.[name] ?? 'nothing', is }))
      // A cell with `or` allows for a race inside the library.
      .filter(({ was, is }) => !was.split(' or ').includes(is)),
  )
}
