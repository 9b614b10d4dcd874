// What has to hold behind every proxy, with connections that can be abandoned. Each check returns
// what it saw, and throws what is wrong.

import { sleep } from '../test-browser/gateway.js'

/** Page loads in a row that are abandoned: more than the connections that a user may have. */
const LOADS = 24
/** Presence has to be right after this. */
const PRESENCE_MS = 60_000
/**
 * A stream is quiet for this long, but for the gateway's heartbeats: longer than the timeouts of 60
 * s.
 */
const QUIET_MS = 65_000
/** A heartbeat that does not push out an event that a proxy keeps back. */
const SLOW_HEARTBEAT = 60
const EVENTS = 5
/** What a client that was away gets at once: events of 6 KB, 200 KB together. */
const MISSED = 34
const MISSED_BYTES = 6000

async function publish(gateway, topic, data) {
  const answer = await fetch(`http://127.0.0.1:${gateway.port}/v1/publish`, {
    method: 'POST',
    headers: { authorization: `Bearer ${gateway.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ topic, type: 'tick', data }),
  })
  if (!answer.ok) throw new Error(`publish is answered ${answer.status}`)
  return answer.json()
}

const hello = ({ messages }, what) => messages.take(({ hello }) => hello, `${what}: hello`)
const has = (n) => (batch) => batch.events?.some(({ data }) => data.n === n)

/**
 * Events one at a time: each has to arrive before the next is published.
 * @returns the slowest, in milliseconds.
 */
async function arrive(gateway, user, stream, what) {
  let slowest = 0
  for (let n = 1; n <= EVENTS; n += 1) {
    const startedAt = Date.now()
    await publish(gateway, `user:${user.name}`, { n })
    await stream.messages.take(has(n), `${what}: event ${n}`)
    slowest = Math.max(slowest, Date.now() - startedAt)
  }
  return slowest
}

/**
 * SSE: events arrive, and commands of the page are accepted.
 * @returns the slowest event, in milliseconds.
 */
export async function sse(gateway, userNamed) {
  const user = userNamed('sse')
  const stream = user.sse({ heartbeat: SLOW_HEARTBEAT })
  try {
    const { hello: told } = await hello(stream, 'SSE')
    const slowest = await arrive(gateway, user, stream, 'SSE')
    await user.send(told.session, { op: 'publish', topic: `user:${user.name}`, type: 'tick', data: { n: 'sent' } })
    await stream.messages.take(has('sent'), 'SSE: the event of a command')
    return slowest
  } finally {
    stream.abandon()
  }
}

/**
 * WebSocket with the page's Origin: accepted, commands answered, events arrive, 200 KB at once too.
 */
export async function ws(gateway, userNamed) {
  const user = userNamed('ws')
  const stream = user.ws({ heartbeat: SLOW_HEARTBEAT })
  let cursor
  let slowest
  try {
    cursor = (await hello(stream, 'WebSocket')).cursor
    slowest = await arrive(gateway, user, stream, 'WebSocket')
    stream.command({ id: 1, op: 'ping' })
    await stream.messages.take(({ reply }) => reply === 1, 'WebSocket: the reply of ping')
  } finally {
    stream.abandon()
  }
  for (let n = 1; n <= MISSED; n += 1) {
    await publish(gateway, `user:${user.name}`, { n: 100 + n, filling: 'x'.repeat(MISSED_BYTES) })
  }
  const late = user.ws({ after: cursor })
  try {
    await late.messages.take(has(100 + MISSED), `WebSocket: ${MISSED} missed events`)
  } finally {
    late.abandon()
  }
  return slowest
}

/** WebSocket with the token as second subprotocol. */
export async function bearer(_gateway, userNamed) {
  const stream = userNamed('bearer').ws({}, 'subprotocol')
  try {
    await hello(stream, 'WebSocket, token as subprotocol')
  } finally {
    stream.abandon()
  }
}

/** A poll that waits for an event, and one that waits in vain for the default of 25 s. */
export async function poll(gateway, userNamed) {
  const user = userNamed('poll')
  const first = await user.answer('GET', 'poll', { wait: 0 }).answered
  if (first.status !== 200) throw new Error(`a poll is answered ${first.status}`)
  const { cursor } = JSON.parse(first.text)
  const quiet = user.answer('GET', 'poll', { after: cursor })
  const empty = await quiet.answered
  if (empty.status !== 200) throw new Error(`a quiet poll is answered ${empty.status}`)
  const { answered } = user.answer('GET', 'poll', { after: JSON.parse(empty.text).cursor })
  const startedAt = Date.now()
  await publish(gateway, `user:${user.name}`, { n: 1 })
  const { status, text } = await answered
  if (status !== 200 || !has(1)(JSON.parse(text))) throw new Error(`a poll is answered ${status}: ${text}`)
  return Date.now() - startedAt
}

/**
 * Nothing but heartbeats at the gateway's own rate: the connection stays, or the gateway itself
 * says good-bye.
 */
export const quiet = (transport) => async (_gateway, userNamed) => {
  const stream = userNamed(`quiet-${transport}`)[transport]()
  try {
    await hello(stream, `quiet ${transport}`)
    const startedAt = Date.now()
    while (Date.now() - startedAt < QUIET_MS && stream.messages.isOpen) await sleep(200)
    if (stream.messages.isOpen) return
    const seconds = Math.round((Date.now() - startedAt) / 1000)
    const what = `a quiet connection (${transport}), cut after ${seconds} s`
    await stream.messages.take(({ bye }) => bye?.reason === 'max_age', what)
    return `max. ${seconds} s`
  } finally {
    stream.abandon()
  }
}

async function member(gateway, topic, name) {
  const answer = await fetch(`http://127.0.0.1:${gateway.port}/v1/presence?topic=${topic}`, {
    headers: { authorization: `Bearer ${gateway.key}` },
  })
  if (!answer.ok) throw new Error(`presence is answered ${answer.status}: ${await answer.text()}`)
  const { members } = await answer.json()
  return members.find(({ user }) => user === name)
}

/** Waits until presence is right. @returns after how many seconds. */
async function presence(gateway, topic, name, isRight, what, keep) {
  const startedAt = Date.now()
  for (;;) {
    await keep?.()
    const seen = await member(gateway, topic, name)
    if (isRight(seen)) return Math.round((Date.now() - startedAt) / 1000)
    if (Date.now() - startedAt > PRESENCE_MS) {
      throw new Error(`${what}: after ${PRESENCE_MS / 1000} s presence has ${JSON.stringify(seen)}`)
    }
    await sleep(500)
  }
}

/**
 * Page loads in a row, each a member of a topic, and each abandoned without a word: the next one
 * works, and presence is right within a minute, both while that one stays and when it has gone.
 * @returns the seconds that presence needed each time.
 */
export const loads = (transport) => async (gateway, userNamed) => {
  const user = userNamed(`loads-${transport}`)
  const topic = `room:${user.name}`
  const load = async (what, session) => {
    const stream = user[transport]({ topics: topic, ...(session && { session }) })
    try {
      const { hello: told } = await hello(stream, what)
      const command = { op: 'presence', topic, status: 'online' }
      if (transport === 'ws') {
        stream.command({ id: 1, ...command })
        await stream.messages.take(({ reply }) => reply === 1, `${what}: the reply of presence`)
      } else {
        await user.send(told.session, command)
      }
      return { ...stream, session: told.session }
    } catch (error) {
      stream.abandon()
      throw error
    }
  }
  for (let n = 1; n <= LOADS; n += 1) (await load(`${transport}, page load ${n}`)).abandon()
  let last = await load(`${transport}, page load ${LOADS + 1}`)
  // As a client does whose stream has reached its age.
  const keep = async () => {
    if (!last.messages.isOpen) last = await load(`${transport}, the stream is continued`, last.session)
  }
  try {
    await arrive(gateway, user, last, `${transport} after ${LOADS} page loads`)
    const alone = (seen) => seen?.status === 'online' && seen.sessions === 1
    const stays = await presence(gateway, topic, user.name, alone, `${transport}, one of ${LOADS + 1} stays`, keep)
    last.abandon()
    const left = (seen) => !seen || seen.status === 'offline'
    const goes = await presence(gateway, topic, user.name, left, `${transport}, all have gone`)
    return [stays, goes]
  } finally {
    last.abandon()
  }
}

/** Polls that are abandoned while they wait do not keep the next one out. */
export async function pollLoads(_gateway, userNamed) {
  const user = userNamed('loads-poll')
  const { cursor } = JSON.parse((await user.answer('GET', 'poll', { wait: 0 }).answered).text)
  for (let n = 1; n <= LOADS; n += 1) {
    const { answered, abandon } = user.answer('GET', 'poll', { after: cursor })
    answered.catch(() => {})
    // Long enough for the request to reach the gateway.
    await sleep(100)
    abandon()
  }
  const { status, text } = await user.answer('GET', 'poll', { wait: 0 }).answered
  if (status !== 200) throw new Error(`poll after ${LOADS} page loads is answered ${status}: ${text}`)
}
