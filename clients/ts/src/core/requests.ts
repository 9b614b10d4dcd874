import type { Command } from './commands.js'
import type { Connection } from './connection.js'
import type { Params } from './link.js'
import type { Batch, Reply } from './protocol.js'

/**
 * One request beside the links, with the same identity: for what has no place in band. This file is loaded with the
 * first of them.
 * @throws CommandError
 */
export async function request(host: Connection, path: string, params: Params, body?: string): Promise<unknown> {
  const { env, address, init } = host
  await host.tokens.get()
  const abort = new AbortController()
  const timer = env.setTimeout(() => abort.abort(), host.replyMs)
  try {
    const { headers, ...rest } = init(abort.signal)
    const post = body && { method: 'POST', body, headers: { ...headers, 'content-type': 'application/json' } }
    const response = await env.fetch(address(path, params), { headers, ...rest, ...post })
    if (response.ok) return await response.json()
    const { code = 'unavailable', detail = `HTTP ${response.status}` } = await response.json().catch(() => ({}))
    return host.result({ error: { code, message: detail } })
  } finally {
    env.clearTimeout(timer)
  }
}

/** A command of a session whose transport cannot send in band. @throws CommandError */
export async function post(host: Connection, command: Command): Promise<unknown> {
  const { session } = host
  // A poller that began from a cursor of its own has not met a hello yet.
  session.id ??= ((await request(host, 'v1/poll', { wait: '0' })) as Batch).hello?.session
  const body = JSON.stringify({ id: '1', ...command })
  return host.result((await request(host, 'v1/send', { session: session.id }, body)) as Reply)
}
