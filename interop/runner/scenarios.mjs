// What each library goes through. A scenario returns the text of its cell in the table:
//
// * `ok`: every event once and in order; where a connection ended, `itself` if the library went on by itself, `loop` if
//   it said that it ended and went on when the application opened it again with the cursor;
// * `lost N`, `twice N`, `disorder`, `torn`, `empty message`, `reset …`: what became of the events;
// * `stuck` if nothing more came: the library neither goes on nor says that it ended.

import { setTimeout as sleep } from 'node:timers/promises'

import { Client } from './client.mjs'
import { Directory, Gateway, token } from './gateway.mjs'
import { Network } from './network.mjs'

const user = 'alice'
const topic = `user:${user}`

const draft = (n, data = {}) => ({ topic, type: 'number', data: { n, ...data } })
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => from + at)

/** One library in one scenario: a gateway, a network, and the client behind it. */
class Stage {
  static async open(library, binary, { options = [], secret } = {}) {
    const stage = new Stage()
    stage.binary = binary
    stage.options = options
    stage.transport = library.transport
    stage.gateway = await Gateway.start(binary, options)
    stage.network = await Network.start(stage.gateway.port)
    const jwt = token(user, { secret })
    const url = (after) => {
      const query = [...library.query]
      if (after) query.push(`after=${after}`)
      if (library.transport === 'sse') query.push(`access_token=${jwt}`)
      const scheme = library.transport === 'sse' ? 'http' : 'ws'
      const path = `127.0.0.1:${stage.network.port}/v1/${library.transport}`
      return `${scheme}://${path}${query.length ? `?${query.join('&')}` : ''}`
    }
    stage.client = new Client(library.command, url, jwt)
    return stage
  }

  /** Opens the library where the log ends now, and waits until it listens. */
  async listen() {
    this.client.open()
    if (!(await this.client.until(() => this.client.hellos > 0))) throw new Stuck()
  }

  /** Waits until this event has come. Because events come in order, what is missing then is lost. */
  async receive(number) {
    return this.client.until(() => this.client.numbers.includes(number))
  }

  /** What became of events 1 to `last`, of which the last has been waited for. */
  async verdict(last) {
    if (this.client.numbers.includes(last) || this.client.faults.length) return fault(this.client, last)
    // Is the library silent, or has it lost the last events?
    await this.gateway.publish(draft(last + 1))
    const probed = await this.client.until(() => this.client.numbers.includes(last + 1), 10_000)
    return probed ? fault(this.client, last) : 'stuck'
  }

  /** The same where connections ended. */
  async resumed(last) {
    return (await this.verdict(last)) ?? (this.client.ended ? 'loop' : 'itself')
  }

  /** Another life of the gateway, on the same store. */
  async restart() {
    this.gateway = await Gateway.start(this.binary, this.options)
  }

  async close() {
    await this.client.stop()
    await this.network.stop()
    await this.gateway.kill()
  }
}

/** The library did not come as far as the scenario begins. */
class Stuck extends Error {}

/** What became of events 1 to `last`, or null if all came once and in order. */
function fault(client, last) {
  if (client.faults.length) {
    const [first] = client.faults
    if (first.startsWith('torn')) return 'torn'
    return first === 'an empty message' ? 'empty message' : first
  }
  const seen = new Set(client.numbers)
  const missing = numbers(1, last).filter((n) => !seen.has(n))
  if (missing.length) return `lost ${missing.length}`
  if (client.numbers.length > seen.size) return `twice ${client.numbers.length - seen.size}`
  return client.numbers.every((n, at) => at === 0 || n > client.numbers[at - 1]) ? null : 'disorder'
}

async function listen(stage) {
  await stage.listen()
  for (const n of numbers(1, 3)) {
    await stage.gateway.publish(draft(n))
    await stage.receive(n)
  }
  return (await stage.verdict(3)) ?? 'ok'
}

/** The three separators that some readers of lines take for ends of lines, and what they would then read. */
const separated = 'a\u2028id: x\u2029data: y\u0085retry: 1\u2028\u2028 ąÅх ☃ 😀'

async function text(stage) {
  await stage.listen()
  await stage.gateway.publish([draft(1, { text: separated }), draft(2)])
  await stage.receive(2)
  const verdict = await stage.verdict(2)
  return verdict ?? (stage.client.events[0].data.text === separated ? 'ok' : 'garbled')
}

/** 24 events over 7 connections: the network breaks, by turns between two events and inside one. */
async function cuts(stage) {
  const { client, gateway, network } = stage
  await stage.listen()
  for (const round of numbers(0, 5)) {
    const drafts = numbers(3 * round + 1, 3 * round + 3).map((n) => draft(n))
    const hellos = client.hellos
    if (round % 2) {
      const cut = network.cutInsideNextEvent()
      await gateway.publish(drafts)
      await cut
    } else {
      await gateway.publish(drafts)
      if (!(await stage.receive(3 * round + 3))) break
      network.cutAll()
    }
    if (!(await client.until(() => client.hellos > hellos))) break
  }
  await gateway.publish(numbers(19, 24).map((n) => draft(n)))
  await stage.receive(24)
  return stage.resumed(24)
}

/** What a client missed while the network was away: events of up to 6 KiB, 20 to 250 KiB of them. */
async function catchup(stage) {
  const { gateway, network } = stage
  await stage.listen()
  let last = 0
  for (const kib of [20, 66, 250]) {
    const first = last + 1
    last += Math.ceil(kib / 6)
    network.hold()
    await gateway.publish(numbers(first, last).map((n) => draft(n, { pad: 'x'.repeat(6 * 1024) })))
    network.release(gateway.port)
    if (!(await stage.receive(last))) return `not ${kib} KiB`
  }
  return stage.resumed(last)
}

/** Streams that the gateway ends at their maximum age, twice. */
async function end(stage) {
  const { client, gateway } = stage
  await stage.listen()
  for (const round of numbers(0, 2)) {
    const hellos = client.hellos
    await gateway.publish([draft(2 * round + 1), draft(2 * round + 2)])
    if (!(await client.until(() => client.hellos > hellos))) break
  }
  await stage.receive(6)
  return stage.resumed(6)
}

/** kill -9 three times; what was acknowledged is on the disk. The first time the gateway is away for a while. */
async function kill(stage) {
  const { client, network } = stage
  await stage.listen()
  for (const round of numbers(0, 2)) {
    const hellos = client.hellos
    await stage.gateway.publish(numbers(8 * round + 1, 8 * round + 4).map((n) => draft(n)))
    await Promise.all([network.down(), stage.gateway.kill()])
    await stage.restart()
    await stage.gateway.publish(numbers(8 * round + 5, 8 * round + 8).map((n) => draft(n)))
    if (round === 0) await sleep(3_000)
    await network.up(stage.gateway.port)
    if (!(await client.until(() => client.hellos > hellos))) break
  }
  await stage.receive(24)
  return stage.resumed(24)
}

/** A restart as a deployment does it. The client is back before the old gateway is gone, and refused once. */
async function drain(stage) {
  const { client, network } = stage
  await stage.listen()
  await stage.gateway.publish([draft(1), draft(2)])
  await stage.receive(2)
  const requests = network.requests
  await stage.gateway.drain()
  await client.until(() => network.requests > requests)
  return refusedAndBack(stage, 2)
}

/** The first connection meets a gateway that drains. */
async function busy(stage) {
  const { client, gateway, network } = stage
  const cursor = await gateway.tail(user)
  await gateway.publish([draft(1), draft(2)])
  await gateway.drain()
  client.open(cursor)
  await client.until(() => network.requests > 0)
  return refusedAndBack(stage, 2)
}

/** The client has sent a request to a gateway that drains: replaces that gateway by a new one. */
async function refusedAndBack(stage, last) {
  // The refusal arrives; a client that takes it badly does so before the network changes.
  await sleep(500)
  stage.network.hold()
  await stage.gateway.kill()
  await stage.restart()
  stage.network.release(stage.gateway.port)
  await stage.gateway.publish([draft(last + 1), draft(last + 2)])
  await stage.receive(last + 2)
  return stage.resumed(last + 2)
}

/** Nothing happens for 20 s, or on a WebSocket until a third ping is due at 45 s; then an event. */
async function quiet(stage) {
  const { gateway, network, transport } = stage
  await stage.listen()
  const requests = network.requests
  await sleep(transport === 'ws' ? 50_000 : 20_000)
  await gateway.publish(draft(1))
  await stage.receive(1)
  if (network.requests === requests) return (await stage.verdict(1)) ?? 'ok'
  return stage.resumed(1)
}

/** A token that is refused: how often the library asks in 10 s when nobody opens it again. */
async function refused(stage) {
  const { client, network } = stage
  client.reopens = false
  client.open()
  await client.until(() => network.requests > 0)
  await sleep(10_000)
  if (network.requests > 10) return 'too many'
  if (client.ended) return 'ends'
  if (network.requests > 1) return 'asks again'
  return client.log.some((line) => line.includes('error')) ? 'error' : 'silent'
}

const onDisk = (directory) => ['--store', 'disk', '--data-dir', directory.path]

/** Every scenario: how the gateway is run, and what happens. */
export const scenarios = {
  listen: { run: listen },
  text: { run: text },
  cuts: { run: cuts },
  catchup: { run: catchup },
  end: { run: end, options: () => ['--max-stream-seconds', '2'] },
  kill: { run: kill, options: onDisk },
  drain: { run: drain, options: onDisk },
  busy: { run: busy, options: onDisk },
  quiet: { run: quiet },
  refused: { run: refused, secret: 'another-secret-of-more-than-32-bytes' },
}

/** Plays one scenario with one library: the cell of the table, and the driver's lines. */
export async function play(name, library, binary) {
  const { run, options = () => [], secret } = scenarios[name]
  const directory = new Directory()
  const stage = await Stage.open(library, binary, { options: options(directory), secret })
  try {
    const cell = await run(stage)
    return { cell: stage.client.dead && cell === 'stuck' ? 'driver died' : cell, log: stage.client.log }
  } catch (error) {
    if (error instanceof Stuck) return { cell: 'never connects', log: stage.client.log }
    throw error
  } finally {
    await stage.close()
    directory.remove()
  }
}
