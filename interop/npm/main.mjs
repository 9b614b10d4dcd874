// Runs one library: `node main.mjs TRANSPORT DRIVER [WORD ...]`. Each line of standard input, `URL TOKEN`, opens it.

import { createInterface } from 'node:readline'

const [transport, driver, ...words] = process.argv.slice(2)
const print = (saw) => {
  process.stdout.write(`${JSON.stringify(saw)}\n`)
}

/** What a driver says: each call is a line of standard output. */
const report = {
  open: () => print({ saw: 'open' }),
  message: (data, id) => print({ saw: 'message', data, id }),
  error: (error) => print({ saw: 'error', text: String(error?.message ?? error) }),
  /** The library ended and will not go on by itself. */
  end: (text, code) => print({ saw: 'end', text, code }),
}

const { open } = await import(`./${transport}/${driver}.mjs`)
const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => {
  const [url, token] = line.split(' ')
  open(url, token, report, words)
})
lines.on('close', () => process.exit(0))
