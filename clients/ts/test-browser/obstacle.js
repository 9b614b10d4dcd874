// A path that misbehaves on purpose: a TCP relay that knows just enough HTTP to do harm.

import { connect, createServer } from 'node:net'

/**
 * A relay to `port` on loopback. `rules` says what goes wrong; an empty one lets everything pass.
 */
export class Obstacle {
  /** When a connection with a link on it was cut or frozen, milliseconds since 1970. */
  cuts = []
  #links = new Set()

  /**
   * @param rules.refuse transports that get 426 or 502.
   * @param rules.kill milliseconds after which an upgraded connection is reset.
   * @param rules.drop nothing passes on an upgraded connection, either way.
   * @param rules.hold how SSE is withheld: `whole`, `one` message behind, or in blocks of that many
   * bytes.
   * @param rules.cut milliseconds after which any connection is reset.
   * @param rules.busy everything is answered 429 with this Retry-After, seconds.
   * @param rules.delay milliseconds that every byte takes, each way.
   */
  static async open(port, rules = {}) {
    const obstacle = new Obstacle()
    obstacle.target = port
    obstacle.rules = rules
    obstacle.server = createServer((client) => obstacle.#accept(client))
    await new Promise((resolve) => obstacle.server.listen(0, '127.0.0.1', resolve))
    obstacle.origin = `http://127.0.0.1:${obstacle.server.address().port}`
    return obstacle
  }

  /** From now on new connections pass unharmed. */
  remove() {
    this.rules = {}
    for (const link of this.#links) clearTimeout(link.timer)
  }

  /** Nothing passes any more on the connections of now, and nobody is told. */
  freeze() {
    this.cuts.push(Date.now())
    for (const link of this.#links) link.frozen = true
  }

  /** Ends the links of now with a reset, as a path does that loses its state. */
  reset() {
    for (const { client, upstream, transport } of this.#links) {
      if (!transport) continue
      client.resetAndDestroy()
      upstream.destroy()
    }
  }

  close() {
    this.server.close()
    for (const { client, upstream } of this.#links) {
      client.destroy()
      upstream.destroy()
    }
  }

  #accept(client) {
    const { rules } = this
    const upstream = connect(this.target, '127.0.0.1')
    const link = { client, upstream, frozen: false, transport: null, out: Buffer.alloc(0), timer: undefined }
    this.#links.add(link)
    const end = () => {
      clearTimeout(link.timer)
      this.#links.delete(link)
    }
    const reset = () => {
      if (link.transport) this.cuts.push(Date.now())
      client.resetAndDestroy()
      upstream.destroy()
    }
    if (rules.cut) link.timer = setTimeout(reset, rules.cut)
    const pass = (to, bytes) => {
      const write = () => !link.frozen && to.writable && to.write(bytes)
      if (rules.delay) setTimeout(write, rules.delay)
      else write()
    }

    client.on('data', (bytes) => {
      const head = /^(?:GET|POST) \/v1\/(ws|sse|poll)/.exec(bytes.toString('latin1', 0, 32))
      if (head) link.transport = head[1]
      const refusal = head && this.#refusal(rules, head[1])
      if (refusal) {
        client.end(`HTTP/1.1 ${refusal}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`)
        upstream.destroy()
        return
      }
      if (rules.drop && link.transport === 'ws' && !head) return
      pass(upstream, bytes)
    })
    upstream.on('data', (bytes) => {
      if (link.transport === 'ws') {
        const upgrade = bytes.indexOf('\r\n\r\n')
        if (rules.drop) {
          if (!link.upgraded) pass(client, bytes.subarray(0, upgrade + 4))
          link.upgraded ||= Date.now()
          return
        }
        if (rules.kill && !link.upgraded) link.timer = setTimeout(reset, rules.kill)
        link.upgraded ||= Date.now()
        // On a busy machine the timer may be later than what it has to keep back.
        if (rules.kill && Date.now() - link.upgraded >= rules.kill) return reset()
      }
      if (!rules.hold || link.transport !== 'sse') return pass(client, bytes)
      link.out = Buffer.concat([link.out, bytes])
      const ready = released(link.out, rules.hold)
      if (ready) pass(client, link.out.subarray(0, ready))
      link.out = link.out.subarray(ready)
    })
    upstream.on('end', () => {
      pass(client, link.out)
      if (!link.frozen) setTimeout(() => client.end(), rules.delay ?? 0)
    })
    client.on('end', () => upstream.end())
    client.on('close', () => {
      end()
      upstream.destroy()
    })
    upstream.on('error', () => client.destroy())
    client.on('error', () => upstream.destroy())
  }

  #refusal(rules, transport) {
    if (rules.busy) return `429 Too Many Requests\r\nretry-after: ${rules.busy}`
    return rules.refuse?.includes(transport) && (transport === 'ws' ? '426 Upgrade Required' : '502 Bad Gateway')
  }
}

/** How many of the bytes may go out by now. */
function released(bytes, hold) {
  if (hold === 'whole') return 0
  if (hold !== 'one') return bytes.length - (bytes.length % hold)
  const last = bytes.lastIndexOf('\n\n')
  const before = last < 0 ? -1 : bytes.lastIndexOf('\n\n', last - 1)
  if (before >= 0) return before + 2
  // Not even the first message is complete: the head may go.
  const head = bytes.indexOf('\r\n\r\n')
  return head < 0 ? 0 : head + 4
}
