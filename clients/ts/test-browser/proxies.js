// Proxies from Debian's packages, each with a configuration in a temporary folder and on loopback ports of its own.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sleep } from './gateway.js'

const START_MS = 20_000

/** A loopback port that nobody holds. */
function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

const answers = (port) =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    }).on('error', () => resolve(false))
  })

/**
 * Runs one proxy in the foreground.
 * @param config what goes into its file, of (port, the gateway's port, folder).
 * @param command the program and its options, of (file, folder).
 */
async function run(gateway, config, command) {
  const folder = mkdtempSync(join(tmpdir(), 'throughline-proxy-'))
  const port = await freePort()
  const file = join(folder, 'proxy.conf')
  writeFileSync(file, config(port, gateway.port, folder))
  const [program, ...options] = command(file, folder)
  // Where Debian keeps servers, which is not on everyone's path.
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` }
  const child = spawn(program, options, { stdio: ['ignore', 'pipe', 'pipe'], env })
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  let log = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (log = (log + text).slice(-4000)))
  child.once('error', (error) => (log += error))
  const ended = new Promise((resolve) => child.once('close', resolve))
  const end = Date.now() + START_MS
  while (!(await answers(port))) {
    if (child.exitCode !== null || Date.now() > end) throw new Error(`${program} did not start: ${log}`)
    await sleep(50)
  }
  return {
    port,
    async close() {
      child.kill('SIGTERM')
      const late = setTimeout(kill, 5000)
      await ended
      clearTimeout(late)
      process.removeListener('exit', kill)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** A proxy in front of the gateway: the page's origin is the proxy. */
const inFront = (config, command) => async (gateway) => {
  const { port, close } = await run(gateway, config, command)
  return { origin: `http://127.0.0.1:${port}`, close }
}

const TEMPORARY = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']

/** nginx with `proxy_pass` and these lines more. */
export const nginx = (lines) =>
  inFront(
    (port, target, folder) => `
daemon off; master_process off; pid ${folder}/pid; error_log stderr;
events { worker_connections 256; }
http {
  access_log off;
  ${TEMPORARY.map((name) => `${name}_temp_path ${folder}/${name};`).join('\n  ')}
  server { listen 127.0.0.1:${port}; location / { proxy_pass http://127.0.0.1:${target}; ${lines} } }
}
`,
    (file, folder) => ['nginx', '-p', folder, '-c', file],
  )
