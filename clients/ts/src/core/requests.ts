import type { Close } from './close.js'
import type { Command } from './commands.js'
import type { Env } from './env.js'
import type { Params } from './link.js'
import type { Batch, Hello, Reply, ReplyError, ThroughlineEvent } from './protocol.js'
import { refusal } from './refusal.js'
import type { Tokens } from './token.js'
import type { Member, TopicState } from './topic.js'

/** What a request needs of the connection that it belongs to. */
export interface RequestHost {
  readonly env: Env
  readonly tokens: Tokens
  readonly session: { readonly id: string }
  /** How long an answer may take, in milliseconds. */
  readonly replyMs: number
  address(path: string, params: Params): string
  init(signal?: AbortSignal): RequestInit
  /** @throws CommandError for an error reply. */
  result(reply: Reply): unknown
}

/**
 * One request beside the links, with the same identity: for what has no place in band.
 * @throws CommandError
 */
export async function request(host: RequestHost, path: string, params: Params, body?: string): Promise<unknown> {
  const { env, address, init } = host
  const abort = new AbortController()
  const timer = env.setTimeout(() => abort.abort(), host.replyMs)
  let error: ReplyError
  try {
    await host.tokens.get()
    const { headers, ...rest } = init(abort.signal)
    const post = body && { method: 'POST', body, headers: { ...headers, 'content-type': 'application/json' } }
    const response = await env.fetch(address(path, params), { headers, ...rest, ...post })
    if (response.ok) return await response.json()
    const { code = 'unavailable', detail = `HTTP ${response.status}` } = await response.json().catch(() => ({}))
    const seconds = Number(response.headers.get('retry-after'))
    error = { code, message: detail, ...(seconds > 0 && { retry_after_ms: seconds * 1000 }) }
  } catch (failure) {
    // No token, no answer, or none that can be read: the gateway may have heard it.
    error = { code: 'unavailable', message: `${failure}` }
  } finally {
    env.clearTimeout(timer)
  }
  return host.result({ error })
}

/** Who the gateway takes this client for, now. @throws CommandError */
export async function whose(host: RequestHost): Promise<Hello> {
  const { hello } = (await request(host, 'v1/poll', { wait: '0', session: host.session.id })) as Batch
  return hello ?? (host.result({ error: { code: 'unavailable', message: 'no hello' } }) as Hello)
}

/**
 * Everything after a cursor, as of now.
 * @param params what links are opened with. @throws CommandError
 */
export const look = (host: RequestHost, params: Params): Promise<unknown> =>
  request(host, 'v1/poll', { ...params, wait: '0' })

/** A command of a session whose transport cannot send in band. @throws CommandError */
export async function post(host: RequestHost, command: Command): Promise<unknown> {
  const body = JSON.stringify({ id: '1', ...command })
  return host.result((await request(host, 'v1/send', { session: host.session.id }, body)) as Reply)
}

/**
 * Why the gateway refuses this client, where a transport cannot tell.
 * @param close what the transport told: the answer where the gateway does not refuse, or is not
 * reached.
 */
export async function explain(host: RequestHost, close: Close): Promise<Close> {
  const { env, session } = host
  const abort = new AbortController()
  const timer = env.setTimeout(() => abort.abort(), host.replyMs)
  try {
    const response = await env.fetch(
      host.address('v1/poll', { wait: '0', session: session.id }),
      host.init(abort.signal),
    )
    if (!response.ok) return refusal(response)
  } catch {
    // The path is at fault.
  } finally {
    env.clearTimeout(timer)
  }
  return close
}

/**
 * Tells the gateway that this session ends, as some proxies never do. A request that outlives the
 * page.
 */
export function leave({ env, session, address, init }: RequestHost): void {
  const request = { ...init(), method: 'POST', keepalive: true }
  env.fetch(address('v1/leave', { session: session.id }), request).catch(() => {}) // It will notice, sooner or later.
}

/** The members of a topic. @throws CommandError */
export async function members(host: RequestHost, topic: string): Promise<Member[]> {
  return ((await request(host, 'v1/presence', { topic })) as { members?: Member[] }).members ?? []
}

/**
 * One page of a topic's retained events.
 * @param decoded the event as the application wants it; nothing where that fails.
 * @throws CommandError
 */
export async function retained(
  host: RequestHost,
  topic: string,
  after: string,
  decoded: (event: ThroughlineEvent) => ThroughlineEvent[],
): Promise<Batch> {
  const batch = (await request(host, 'v1/history', { topic, after })) as Batch
  return { ...batch, events: batch.events.flatMap(decoded) }
}

/** A part of the state of a topic (PROTOCOL.md, S3). */
interface StatePart {
  cursor: string
  partial?: true
  next?: string
  events: ThroughlineEvent[]
}

/**
 * The state of a topic, all parts of one point.
 * @param decoded the event as the application wants it; nothing where that fails.
 * @throws CommandError
 */
export async function stateOf(
  host: RequestHost,
  topic: string,
  decoded: (event: ThroughlineEvent) => ThroughlineEvent[],
): Promise<TopicState> {
  let events: ThroughlineEvent[] = []
  let cursor: string | undefined
  let partial = false
  let next: string | undefined = ''
  while (next !== undefined) {
    const part: StatePart = (await request(host, 'v1/state', next ? { topic, next } : { topic })) as StatePart
    // Another point: the one before is history no more.
    if (cursor !== part.cursor) [events, partial] = [[], false]
    events.push(...part.events.flatMap(decoded))
    cursor = part.cursor
    partial ||= !!part.partial
    next = part.next
  }
  return { cursor: cursor as string, partial, events }
}
