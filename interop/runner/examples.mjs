// Runs the programs of docs/clients.md, as they stand there, through a cut, a kill -9, a restart, and a loss of history.
//
// The info string of a code block ends in `example: NAME`.

import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

import { Directory, Gateway, token } from './gateway.mjs'
import { Network } from './network.mjs'
import { built, root, sources } from './paths.mjs'

const { values: options } = parseArgs({
  options: { gateway: { type: 'string' }, only: { type: 'string', default: '' } },
})

/** What the JavaScript examples leave to the application, and where Node.js has an interface that browsers have. */
const javascript = (text, globals = '') => `${globals}
const token = process.env.TOKEN
const show = (event) => console.log(JSON.stringify(event))
const refetch = (topics) => console.log('fetch anew:', topics)
setInterval(() => {}, 60_000) // a page does not end while nothing happens
${text}`

const folder = join(built, 'examples')
const write = (path, text) => {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  return path
}
const npm = (name, text) => ['node', write(join(built, 'npm/examples', `${name}.mjs`), text)]
const has = (...path) => existsSync(join(built, ...path))
const works = (program, ...args) => {
  try {
    execFileSync(program, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** Each example: whether its tools are here, and the command that it becomes. */
const languages = {
  eventsource: {
    ready: () => has('npm/node_modules/eventsource'),
    command: (text) => npm('eventsource', javascript(text, "import { EventSource } from 'eventsource'")),
  },
  websocket: {
    ready: () => has('npm/node_modules/undici'),
    command: (text) => npm('websocket', javascript(text, "import { WebSocket } from 'undici'")),
  },
  fetch: { ready: () => true, command: (text) => npm('fetch', javascript(text)) },
  python: {
    ready: () => works('python3', '--version'),
    command: (text) => ['python3', write(join(folder, 'python/example.py'), text)],
  },
  go: {
    ready: () => works('go', 'version'),
    command(text) {
      write(join(folder, 'go/go.mod'), 'module example\n\ngo 1.21\n')
      write(join(folder, 'go/main.go'), text)
      execFileSync('go', ['build', '-o', 'example', '.'], { cwd: join(folder, 'go') })
      return [join(folder, 'go/example')]
    },
  },
  java: {
    ready: () => has('java/jdk/lib') && works('java', '--version'),
    command: (text) => [
      'java',
      '-cp',
      `${join(built, 'java/jdk/lib')}/*`,
      write(join(folder, 'java/Events.java'), text),
    ],
  },
  rust: {
    ready: () => works('cargo', '--version'),
    command(text) {
      const manifest = readFileSync(join(sources, 'rust/Cargo.toml'), 'utf8')
      const dependency = (name) => manifest.match(new RegExp(`^${name} = .*$`, 'm'))[0]
      write(
        join(folder, 'rust/Cargo.toml'),
        `[workspace]\n[package]\nname = "example"\nversion = "0.1.0"\nedition = "2024"\n[dependencies]\n` +
          `${dependency('serde_json')}\n${dependency('tokio-tungstenite').replace('tokio-', '')}\n`,
      )
      write(join(folder, 'rust/Cargo.lock'), readFileSync(join(sources, 'rust/Cargo.lock')))
      write(join(folder, 'rust/src/main.rs'), text)
      const target = join(built, 'rust')
      execFileSync('cargo', [
        'build',
        '--quiet',
        '--manifest-path',
        join(folder, 'rust/Cargo.toml'),
        '--target-dir',
        target,
      ])
      return [join(target, 'debug/example')]
    },
  },
  curl: {
    ready: () => works('curl', '--version'),
    command: (text) => ['bash', write(join(folder, 'curl/example.bash'), text)],
  },
}

/** The code of each example, by name. */
function examples() {
  const page = readFileSync(join(root, 'docs/clients.md'), 'utf8')
  return new Map([...page.matchAll(/^```[^\n]* example: (\w+)\n(.*?)^```$/gms)].map(([, name, text]) => [name, text]))
}

/** A program that prints each event, or each batch, as a line of JSON. */
class Program {
  numbers = []
  refetches = 0
  lines = []

  constructor([program, ...args], env) {
    this.child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    this.child.on('exit', (code, signal) => this.lines.push(`exit ${code ?? signal}`))
    for (const stream of [this.child.stdout, this.child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => this.#read(line))
    }
  }

  #read(line) {
    this.lines.push(line)
    if (line.startsWith('fetch anew') || line.includes('"reset":')) this.refetches += 1
    if (!line.startsWith('{')) return
    const said = JSON.parse(line)
    for (const event of said.events ?? [said]) this.numbers.push(event.data.n)
  }

  async until(what, condition) {
    for (const began = Date.now(); Date.now() - began < 60_000; await sleep(50)) if (await condition()) return
    throw new Error(`${what} did not happen; the program said\n${this.lines.slice(-20).join('\n')}`)
  }

  receives(last) {
    return this.until(`event ${last}`, () => this.numbers.includes(last))
  }
}

async function play({ network, command }) {
  const directories = [new Directory(), new Directory()]
  const start = (directory) => Gateway.start(options.gateway, ['--store', 'disk', '--data-dir', directory.path])
  let gateway = await start(directories[0])
  network.release(gateway.port)
  const publish = (from, to) =>
    gateway.publish(
      Array.from({ length: to - from + 1 }, (_, at) => ({
        topic: 'user:alice',
        type: 'number',
        data: { n: from + at },
      })),
    )
  const program = new Program(command, { TOKEN: token('alice') })
  try {
    await program.until('a connection', async () => (await gateway.connections()) > 0)
    await publish(1, 3)
    await program.receives(3)
    network.cutAll()
    await publish(4, 6)
    await program.receives(6)
    const cut = network.cutInsideNextEvent()
    await publish(7, 9)
    await cut
    await program.receives(9)
    await Promise.all([network.down(), gateway.kill()])
    gateway = await start(directories[0])
    await publish(10, 12)
    await network.up(gateway.port)
    await program.receives(12)
    // A restart that says `bye`, while the gateway still refuses; then history is lost.
    await gateway.drain()
    network.hold()
    await gateway.kill()
    gateway = await start(directories[1])
    network.release(gateway.port)
    await program.until('reset', () => program.refetches === 1)
    await program.until('a connection', async () => (await gateway.connections()) > 0)
    await publish(13, 15)
    await program.receives(15)
    const expected = Array.from({ length: 15 }, (_, at) => at + 1).join()
    if (program.numbers.join() !== expected) throw new Error(`events ${program.numbers.join()}`)
  } finally {
    program.child.kill('SIGKILL')
    await network.stop()
    await gateway.kill()
    for (const directory of directories) directory.remove()
  }
}

let failed = 0
const found = examples()
for (const name of Object.keys(languages))
  if (!found.has(name)) throw new Error(`docs/clients.md has no example ${name}`)

// Compilers block this process, so all of them have run before the first program does.
const prepared = []
for (const [name, text] of found) {
  if (!name.includes(options.only)) continue
  const language = languages[name]
  if (!language.ready()) {
    console.log(`docs/clients.md, ${name}: left out, its tools are not installed`)
    continue
  }
  const network = await Network.start()
  network.hold()
  const command = language.command(text.replaceAll('127.0.0.1:8080', `127.0.0.1:${network.port}`))
  prepared.push({ name, network, command })
}
await Promise.all(
  prepared.map(async (example) => {
    try {
      await play(example)
      console.log(`docs/clients.md, ${example.name}: every event once and in order`)
    } catch (error) {
      failed += 1
      console.log(`docs/clients.md, ${example.name}: ${error.message}`)
    }
  }),
)
process.exitCode = failed ? 1 : 0
