import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { until } from './gateway.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'throughline-pids-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

it.each(['fails', 'hangs', 'is killed with its runner'])('a test that %s leaves no gateway behind', async (how) => {
  const file = join(folder, 'pids')
  writeFileSync(file, '')
  const pids = (): number[] => readFileSync(file, 'utf8').split('\n').filter(Boolean).map(Number)
  const options = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/gateway/failing/vitest.config.ts']
  const runner = spawn(process.execPath, options, {
    cwd: ROOT,
    env: { ...process.env, HOW: how, PIDS: file },
    stdio: 'ignore',
  })
  const ended = new Promise((resolve) => runner.once('exit', resolve))
  await until(() => pids().length === 2, 'two gateways')
  if (how === 'is killed with its runner') runner.kill('SIGKILL')
  expect(await ended).not.toBe(0)
  await until(() => !pids().some(lives), 'the end of both')
})
