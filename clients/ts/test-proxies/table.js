// What was seen behind each proxy, as one table, beside what docs/proxies.md claims.

/** The names of docs/proxies.md. */
export const NAMES = { ws: 'WebSocket', sse: 'SSE', poll: 'polls' }
const milliseconds = (ms) => `${ms} ms`
const seconds = ([stays, goes]) => `${stays} s, ${goes} s`
const plain = (value) => value ?? 'ok'
const transport = (value) => NAMES[value] ?? 'nothing'

const COLUMNS = [
  ['settles on: cookie', 'cookie', transport],
  ['token', 'token', transport],
  ['`gateway dev`', 'dev', transport],
  ['slowest event: SSE', 'sse', milliseconds],
  ['WebSocket', 'ws', milliseconds],
  ['poll', 'poll', milliseconds],
  ['quiet: SSE', 'quietSse', plain],
  ['WebSocket', 'quietWs', plain],
  ['24 loads, presence right after: SSE', 'loadsSse', seconds],
  ['WebSocket', 'loadsWs', seconds],
]

/**
 * @param claim what the page says; undefined: the page lacks this proxy.
 * @param seen by the name of a check: `value`, or what is `wrong`.
 */
export function row(setUp, version, claim, seen) {
  const wrong = Object.values(seen).flatMap(({ wrong }) => wrong ?? [])
  for (const page of ['cookie', 'token', 'dev']) {
    const settled = transport(seen[page]?.value)
    if (seen[page] && !seen[page].wrong && claim && settled !== claim.transport) {
      wrong.push(`the client settles on ${settled} (${page}); docs/proxies.md says ${claim.transport}`)
    }
  }
  if (!claim) wrong.push('docs/proxies.md has no row for it')
  else if (claim.version !== version) wrong.push(`version ${version}; docs/proxies.md says ${claim.version}`)
  return { name: setUp.name, version, seen, wrong }
}

/** @returns lines of a Markdown table. */
export function table(rows) {
  const cell = (seen, show) => (seen === undefined ? '' : seen.wrong === undefined ? show(seen.value) : 'NO')
  const lines = [
    ['proxy', 'version', ...COLUMNS.map(([head]) => head), ''],
    ...rows.map(({ name, version, seen, wrong }) => [
      name,
      version,
      ...COLUMNS.map(([, key, show]) => cell(seen[key], show)),
      wrong.length ? 'DIFFERENT' : 'ok',
    ]),
  ]
  const widths = lines[0].map((_, index) => Math.max(...lines.map((line) => line[index].length)))
  const written = (line) => `| ${line.map((text, index) => text.padEnd(widths[index])).join(' | ')} |`
  return [written(lines[0]), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`]
    .concat(lines.slice(1).map(written))
    .join('\n')
}
