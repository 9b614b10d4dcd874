// docs/proxies.md as data: the lines of each proxy, and what the table claims. The tests run these
// very lines, so the document cannot drift from what works.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const PAGE = fileURLToPath(new URL('../../../docs/proxies.md', import.meta.url))
/** The addresses that the document uses: the gateway, the proxy's port, and the page's origin. */
const GATEWAY_PORT = /\b8080\b/g
const PORT = /\b3000\b/g
const ORIGIN = /https:\/\/app\.example/g

/**
 * The part of the document below one heading.
 * @returns its files by name, and the options of its gateway.
 */
export function section(name, text = readFileSync(PAGE, 'utf8')) {
  const below = text.split(/^#{2,3} /m).find((part) => part.startsWith(`${name}\n`))
  if (!below) throw new Error(`docs/proxies.md has no section "${name}"`)
  const files = {}
  let options = []
  for (const [, info, body] of below.matchAll(/^```(.+)\n([\s\S]*?)^```$/gm)) {
    const [, ...words] = info.split(' ')
    if (words[0] === 'gateway') options = body.trim().split(/\s+/)
    else if (words[0]) files[words[0]] = body
  }
  return { files, options }
}

/** The lines for these ports: a proxy on `port` in front of a gateway on `target`. */
export const placed = (text, port, target) =>
  text.replace(GATEWAY_PORT, target).replace(PORT, port).replace(ORIGIN, `http://127.0.0.1:${port}`)

/**
 * The rows of the table by the name of the proxy: its version, and the transport that the client
 * settles on.
 */
export function claims(text = readFileSync(PAGE, 'utf8')) {
  const rows = text.split('\n').filter((line) => line.startsWith('| ['))
  return new Map(
    rows.map((row) => {
      const [, proxy, version, transport, without] = row.split('|').map((cell) => cell.trim())
      return [/\[(.+?)\]/.exec(proxy)[1], { version, transport, without }]
    }),
  )
}
