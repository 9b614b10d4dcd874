import { appendFileSync } from 'node:fs'
import { beforeAll, expect, it } from 'vitest'
import { Gateway, until } from '../gateway.js'

const { HOW, PIDS = '' } = process.env

beforeAll(async () => {
  const gateways = await Promise.all([Gateway.start(), Gateway.start()])
  appendFileSync(PIDS, gateways.map(({ pid }) => `${pid}\n`).join(''))
})

it('does not stop its gateways', async () => {
  if (HOW === 'fails') expect(1).toBe(2)
  await until(() => false, 'what never happens', Number.POSITIVE_INFINITY)
})
