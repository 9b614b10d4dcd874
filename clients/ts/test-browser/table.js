// The figures, as one table.

const seconds = (ms) => (ms === undefined ? '' : ms === null ? '-' : `${(ms / 1000).toFixed(1)} s`)

const COLUMNS = [
  ['path', ({ path }) => path.name],
  ['settled on', ({ figures }) => figures.settledOn ?? 'nothing'],
  ['first event', ({ figures }) => seconds(figures.first)],
  ['events', ({ figures }) => figures.published],
  ['lost', ({ figures }) => (figures.told ? `${figures.lost} (${figures.told} told)` : figures.lost)],
  ['twice', ({ figures }) => figures.twice],
  ['reordered', ({ figures }) => figures.reordered],
  ['longest delay', ({ figures }) => seconds(figures.longest)],
  ['after a cut', ({ figures }) => seconds(figures.afterCut ?? undefined)],
  ['links', ({ figures }) => figures.links],
  ['held up', ({ figures }) => seconds(figures.heldUp)],
  ['back on ws', ({ figures }) => seconds(figures.back)],
  ['', ({ wrong }) => (wrong.length ? 'WRONG' : 'ok')],
]

/** @returns lines of a Markdown table. */
export function table(results) {
  const rows = [
    COLUMNS.map(([head]) => head),
    ...results.map((result) =>
      COLUMNS.map(([, cell], index) => (result.figures || !index ? String(cell(result)) : '?')),
    ),
  ]
  const widths = COLUMNS.map((_, index) => Math.max(...rows.map((row) => row[index].length)))
  const line = (row) => `| ${row.map((cell, index) => cell.padEnd(widths[index])).join(' | ')} |`
  return [
    line(rows[0]),
    `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`,
    ...rows.slice(1).map(line),
  ].join('\n')
}
