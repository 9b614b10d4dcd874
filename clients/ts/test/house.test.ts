/** The house rules of the client: short files, short functions, and narrow prose. */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

const FILE_LINES_MAX = 500
/** Files that are longer, each with the reason. */
const LONG_FILES: Record<string, string> = {
  'test/ladder.test.ts': 'one test for each obstacle',
  'test/tabs.test.ts': 'one test for each thing that happens to tabs',
}
/** A longer function has its reason in a line comment right above it. */
const FUNCTION_LINES_MAX = 60
const PROSE_COLUMNS_MAX = 100

const root = fileURLToPath(new URL('..', import.meta.url))

function filesOf(folder: string): string[] {
  const entries = readdirSync(`${root}/${folder}`, { recursive: true, encoding: 'utf8' })
  return entries.filter((name) => /\.[jt]sx?$/.test(name)).map((name) => `${folder}/${name}`)
}

const read = (file: string): string => readFileSync(`${root}/${file}`, 'utf8')
const files = ['src', 'test', 'test-browser', 'test-proxies'].flatMap(filesOf)

/** Functions of a file that are too long and give no reason. */
function longFunctions(file: string): string[] {
  const text = read(file)
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)
  const lines = text.split('\n')
  const found: string[] = []
  const lineOf = (at: number): number => source.getLineAndCharacterOfPosition(at).line
  const look = (node: ts.Node): void => {
    const first = lineOf(node.getStart(source))
    const length = lineOf(node.end) - first + 1
    const hasReason = lines[first - 1]?.trim().startsWith('// ')
    if (ts.isFunctionLike(node) && length > FUNCTION_LINES_MAX && !hasReason) {
      found.push(`${file}:${first + 1}: ${length} lines`)
    }
    ts.forEachChild(node, look)
  }
  look(source)
  return found
}

describe('the house', () => {
  it('has short files', () => {
    const lengths = files.map((file) => [file, read(file).split('\n').length - 1] as const)
    const long = lengths.filter(([file, lines]) => lines > FILE_LINES_MAX && !LONG_FILES[file])
    expect(long).toEqual([])
  })

  it('has short functions, or a reason beside a long one', () => {
    expect(files.filter((file) => file.startsWith('src/')).flatMap(longFunctions)).toEqual([])
  })

  it('has comments and a README of at most 100 columns', () => {
    const isProse = (line: string): boolean => /^\s*(\/\/|\*|\/\*\*) /.test(line) && !line.includes('biome-ignore')
    const wide = files.flatMap((file) => {
      const lines = read(file).split('\n')
      return lines.filter((line) => isProse(line) && line.length > PROSE_COLUMNS_MAX).map((line) => `${file}: ${line}`)
    })
    const prose = read('README.md').replace(/```[\s\S]*?```/g, '')
    const long = prose.split('\n').filter((line) => line.length > PROSE_COLUMNS_MAX && !/^[|<]/.test(line))
    expect([...wide, ...long]).toEqual([])
  })
})
