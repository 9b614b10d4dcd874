// The libraries under test. Versions are pinned in the package files of each language; here is how each is called.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { built, sources } from './paths.mjs'

/** How the driver of each language is started, for a library of it. */
const commands = {
  npm: ({ driver, transport, args }) => ['node', join(built, 'npm/main.mjs'), transport, driver, ...args],
  python: ({ driver, transport, args }) => [
    join(built, 'python/bin/python'),
    '-uB',
    join(sources, 'python/main.py'),
    transport,
    driver,
    ...args,
  ],
  go: ({ driver, transport, args }) => [join(built, 'go/driver'), transport, driver, ...args],
  java: ({ driver, transport, args }) => [
    'java',
    '-XX:TieredStopAtLevel=1',
    '-XX:+UseSerialGC',
    '-cp',
    `${join(built, 'java', driver)}/${driver}-1.jar:${join(built, 'java', driver)}/lib/*`,
    'Main',
    transport,
    ...args,
  ],
  c: ({ transport, driver }) => [join(built, 'c/driver'), transport, driver],
  rust: ({ driver, transport, args }) => [join(built, 'rust/debug/driver'), transport, driver, ...args],
}

/**
 * One line of libraries.txt: language, transport, name, version, driver, and what differs from the defaults: words for
 * the driver, and `?…` for the query.
 */
function parse(line) {
  const [language, transport, name, version, driver, ...set] = line.split(/\s+/)
  const query = set.filter((word) => word.startsWith('?')).map((word) => word.slice(1))
  const args = set.filter((word) => !word.startsWith('?') && word !== 'short')
  const library = { language, transport, name, version, driver, args, query }
  const label = [name, version, ...set.filter((word) => word !== 'short')].join(' ')
  return { ...library, label, isShort: set.includes('short'), command: commands[language](library) }
}

export const libraries = readFileSync(join(sources, 'libraries.txt'), 'utf8')
  .split('\n')
  .filter((line) => line && !line.startsWith('#'))
  .map(parse)
