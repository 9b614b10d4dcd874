import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { INTERNAL } from '../mangle.js'

const read = (path: string): string => readFileSync(fileURLToPath(new URL(path, import.meta.url)), 'utf8')

/** Members of the runtime's objects that the core uses: a name among them must not be shortened. */
const RUNTIME =
  `abort aborted add addEventListener assign body catch clear clearTimeout close code data decode delete done error
  feed fetch filter finally find freeze get getItem getReader has headers href includes json keys localStorage location
  max message min name navigator now ok onclose onerror onmessage onLine onopen origin parse push random read readyState
  reason replace response round seq send set setItem setTimeout shift signal size slice some sort splice split startsWith
  status stringify text then url value values visibilityState warn connection document addListener`.split(/\s+/)

/** What goes over the wire: parameters, and members of commands. */
const WIRE =
  `after topics types interval heartbeat session user wait pad batch access_token op topic type data key ttl_ms expect event_id
  ephemeral status info token id reply ok error code message seq`.split(/\s+/)

/** Files that describe the API, the protocol or the runtime. */
const PUBLIC = ['protocol', 'options', 'env', 'timing', 'topic', 'commands', 'state']

describe('the names that the build shortens', () => {
  it('are neither the runtime’s nor the protocol’s', () => {
    expect(INTERNAL.filter((name) => RUNTIME.includes(name) || WIRE.includes(name))).toEqual([])
  })

  it.each(PUBLIC)('are not members described in %s.ts', (file) => {
    const members = [...read(`../src/core/${file}.ts`).matchAll(/^ {2}(?:readonly )?(\w+)\??[:(<]/gm)].map(
      ([, name]) => name,
    )
    expect(INTERNAL.filter((name) => members.includes(name))).toEqual([])
  })

  it('are not members of what tabs send each other: two may run builds of different days', () => {
    const members = [...read('../src/core/tab-messages.ts').matchAll(/readonly (\w+)\??:/g)].map(([, name]) => name)
    expect(members.length).toBeGreaterThan(20)
    expect(INTERNAL.filter((name) => members.includes(name))).toEqual([])
  })

  it('are not members of the client', () => {
    const sources = read('../src/core/client.ts') + read('../src/core/state.ts')
    const api = sources.match(/export interface (Client|ClientState|ConnectionState)[\s\S]*?^}/gm)?.join('\n') ?? ''
    const members = [...api.matchAll(/^ {2}(?:readonly )?(\w+)[:(<]/gm)].map(([, name]) => name)
    expect(members.length).toBeGreaterThan(20)
    expect(INTERNAL.filter((name) => members.includes(name))).toEqual([])
  })

  it('are all still in use', () => {
    const folder = fileURLToPath(new URL('../src/core', import.meta.url))
    const source = readdirSync(folder)
      .map((file) => readFileSync(`${folder}/${file}`, 'utf8'))
      .join('\n')
    expect(INTERNAL.filter((name) => !new RegExp(`\\b${name}\\b`).test(source))).toEqual([])
  })
})
