// A library under test, and around it what every application does: it reads batches, keeps the cursor, and opens the
// library anew if the library does not go on by itself.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/** How long an application waits before it opens the library again, if `bye` has not said. */
const reopenMs = 500

export class Client {
  /** The numbers of the events, in the order in which they came. */
  numbers = []
  /** The events as they came. */
  events = []
  /** How often the library said that a connection is open. */
  opened = 0
  /** How often the library ended, and was not going to go on by itself. */
  ended = 0
  /** Batches with `hello`, which begin a connection. */
  hellos = 0
  /** Resets, and texts that are no batch. */
  faults = []
  /** Lines of the driver, for a report of what went wrong. */
  log = []
  /** Whether the library is opened again when it has ended. */
  reopens = true
  #watchers = new Set()
  #child
  #url
  #token
  #cursor = null
  #reconnectMs = reopenMs
  #timer

  /** `url` takes a cursor, or null, and gives the address to open. */
  constructor(command, url, token) {
    this.#url = url
    this.#token = token
    const [program, ...args] = command
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#child.stdin.on('error', () => {})
    this.#child.stderr.on('data', (data) => this.#note(`stderr ${data}`))
    this.#child.on('error', (error) => this.#died(error.message))
    this.#child.on('exit', (code, signal) => this.#died(`exit ${code ?? signal}`))
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#read(line))
  }

  open(after = null) {
    this.#cursor = after
    this.#open()
  }

  #open() {
    this.#child.stdin.write(`${this.#url(this.#cursor)} ${this.#token}\n`)
  }

  #note(line) {
    this.log.push(line)
    for (const watcher of [...this.#watchers]) watcher()
  }

  #died(why) {
    this.dead = why
    this.#note(`the driver: ${why}`)
  }

  #read(line) {
    let saw
    try {
      saw = JSON.parse(line)
    } catch {
      this.#note(`not a line of a driver: ${line}`)
      return
    }
    if (saw.saw === 'open') this.opened += 1
    if (saw.saw === 'message') this.#take(saw.data)
    if (saw.saw === 'end') this.#end()
    this.#note(line.slice(0, 300))
  }

  #take(text) {
    let batch
    try {
      batch = JSON.parse(text)
    } catch {
      this.faults.push(text === '' ? 'an empty message' : `torn: ${text.slice(0, 60)}`)
      return
    }
    if (batch.hello) this.hellos += 1
    if (batch.reset) this.faults.push(`reset ${batch.reset.reason}`)
    if (batch.bye) this.#reconnectMs = batch.bye.reconnect_after_ms
    for (const event of batch.events) {
      this.events.push(event)
      if (typeof event.data?.n === 'number') this.numbers.push(event.data.n)
    }
    this.#cursor = batch.cursor
  }

  #end() {
    this.ended += 1
    if (!this.reopens) return
    const delay = this.#reconnectMs
    this.#reconnectMs = reopenMs
    this.#timer = setTimeout(() => this.#open(), delay)
  }

  /** Resolves to true when the condition holds, and to false when it does not within the limit. */
  until(condition, limitMs = 60_000) {
    if (condition()) return Promise.resolve(true)
    return new Promise((resolve) => {
      const done = (result) => {
        clearTimeout(timer)
        clearInterval(poll)
        this.#watchers.delete(look)
        resolve(result)
      }
      const look = () => {
        if (condition()) done(true)
        else if (this.dead) done(false)
      }
      const timer = setTimeout(() => done(false), limitMs)
      // The condition may be about the network, of which the driver says nothing.
      const poll = setInterval(look, 50)
      this.#watchers.add(look)
    })
  }

  async stop() {
    clearTimeout(this.#timer)
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill('SIGKILL')
    await exited
  }
}
