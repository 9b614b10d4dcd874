// Starts one proxy with the lines of docs/proxies.md on a free port of loopback.

import { spawn } from 'node:child_process'
import { mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { BOUND, sleep } from '../test-browser/gateway.js'
import { answers } from '../test-browser/proxies.js'
import { placed } from './document.js'
import { ROOT } from './install.js'

/** Generous, because a busy machine is no failure: some of these compile first. */
const START_MS = 300_000
const STOP_MS = 5000
const LOG_SHOWN = 3000

/**
 * @param setUp.install installs the program. @returns what `command` and `build` need.
 * @param setUp.files the rest of a project beside the documented lines, by name.
 * @param setUp.around puts a documented file into its place in a larger one, of (lines, folder).
 * @param setUp.servesPage the document comes from it too.
 * @param setUp.routesLate it listens before it knows where the gateway is.
 * @param setUp.build runs once before the start, of (installed, folder, environment).
 * @param setUp.command the program and its options, of (installed, port, folder).
 * @param lines the documented files by name.
 * @param port where it listens.
 * @param target the gateway's port.
 */
export async function start(setUp, lines, port, target) {
  const installed = await setUp.install()
  const folder = setUp.inPlace ? installed : `${ROOT}/run/${setUp.name.replaceAll(/\W+/g, '-')}`
  if (!setUp.inPlace) rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const write = (name, text) => {
    const file = `${folder}/${name}`
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, placed(text, port, target))
  }
  for (const [name, text] of Object.entries(setUp.files ?? {})) write(name, text)
  for (const [name, text] of Object.entries(lines)) write(name, setUp.around?.(text, folder) ?? text)
  const env = {
    ...process.env,
    PATH: `${process.env.PATH}:/usr/sbin`,
    HOME: folder,
    PORT: String(port),
    HOST: '127.0.0.1',
    CI: 'true',
    ...setUp.env,
  }
  await setUp.build?.(installed, folder, env)
  const [program, ...options] = setUp.command(installed, port, folder)
  const log = openSync(`${folder}/log`, 'w')
  const child = spawn(BOUND, [program, ...options], { cwd: folder, stdio: ['ignore', log, log], env, detached: true })
  const signal = (name) => {
    try {
      // The group: several of these start processes of their own.
      process.kill(-child.pid, name)
    } catch {
      // Gone already.
    }
  }
  const kill = () => signal('SIGKILL')
  process.once('exit', kill)
  let failure = null
  child.once('error', (error) => {
    failure = error
  })
  const ended = new Promise((resolve) => child.once('close', resolve))
  const close = async () => {
    const late = setTimeout(kill, STOP_MS)
    signal('SIGTERM')
    if (!failure) await ended
    clearTimeout(late)
    kill()
    process.removeListener('exit', kill)
  }
  const end = Date.now() + START_MS
  while (!(await answers(port))) {
    if (!failure && child.exitCode === null && Date.now() < end) {
      await sleep(100)
      continue
    }
    const said = failure ?? readFileSync(`${folder}/log`, 'utf8').slice(-LOG_SHOWN)
    await close()
    throw new Error(`${setUp.name} did not start: ${said}`)
  }
  if (setUp.servesPage) await document(`http://127.0.0.1:${port}/`, end)
  if (setUp.routesLate) await gateway(`http://127.0.0.1:${port}/v1/poll`, end)
  return { close }
}

/**
 * Loads the document of a development server, as a developer does first: some answer no WebSocket
 * before that.
 */
async function document(address, end) {
  while (Date.now() < end) {
    const answer = await fetch(address).catch(() => null)
    await answer?.text().catch(() => '')
    if (answer?.ok) return
    await sleep(500)
  }
  throw new Error('the development server does not answer with its page')
}

/** Waits until a request without a token is refused by the gateway. */
async function gateway(address, end) {
  while (Date.now() < end) {
    const answer = await fetch(address).catch(() => null)
    await answer?.text().catch(() => '')
    if (answer?.status === 401) return
    await sleep(200)
  }
  throw new Error('the proxy does not reach the gateway')
}
