// The network between a client and the gateway: a TCP proxy on one port that can cut, refuse and hold back.

import net from 'node:net'

export class Network {
  /** Heads of requests that have come from the client. */
  requests = 0
  #target
  #server
  #pairs = new Set()
  /** Connections that wait for a gateway. */
  #held = null
  /** Cuts a connection after the first bytes of the next event. */
  #cutsNextEvent = null

  static async start(targetPort) {
    const network = new Network()
    network.#target = targetPort
    await network.#listen(0)
    return network
  }

  async #listen(port) {
    this.#server = net.createServer((client) => {
      client.on('error', () => {})
      if (this.#held) this.#held.push(client)
      else this.#join(client)
    })
    await new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(port, '127.0.0.1', resolve)
    })
    this.port = this.#server.address().port
  }

  #join(client) {
    const upstream = net.connect(this.#target, '127.0.0.1')
    const pair = { client, upstream }
    this.#pairs.add(pair)
    const end = () => {
      this.#pairs.delete(pair)
      client.destroy()
      upstream.destroy()
    }
    client.setNoDelay(true)
    upstream.setNoDelay(true)
    client.on('data', (data) => {
      if (data.subarray(0, 4).toString('latin1') === 'GET ') this.requests += 1
      upstream.write(data)
    })
    upstream.on('data', (data) => this.#deliver(data, client, end))
    client.on('end', () => upstream.end())
    upstream.on('end', () => client.end())
    client.on('close', end)
    upstream.on('close', end)
    upstream.on('error', end)
  }

  #deliver(data, client, end) {
    const begin = this.#cutsNextEvent ? data.indexOf('"events":[{') : -1
    if (begin < 0) {
      client.write(data)
      return
    }
    this.#cutsNextEvent()
    this.#cutsNextEvent = null
    client.write(data.subarray(0, begin + 20), () => end())
  }

  /** Resolves when the next event has been cut in the middle. */
  cutInsideNextEvent() {
    return new Promise((resolve) => {
      this.#cutsNextEvent = resolve
    })
  }

  /** Closes all connections, without an end that the protocols would know. */
  cutAll() {
    for (const { client, upstream } of this.#pairs) {
      client.destroy()
      upstream.destroy()
    }
  }

  /** From now on connections are refused. */
  async down() {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.cutAll()
    await closed
  }

  /** Takes connections again, for a gateway on another port. */
  async up(targetPort) {
    this.#target = targetPort
    await this.#listen(this.port)
  }

  /** From now on connections are taken and wait. */
  hold() {
    this.#held = []
    this.cutAll()
  }

  /** Hands the connections that wait, and all later ones, to a gateway on another port. */
  release(targetPort) {
    this.#target = targetPort
    const held = this.#held
    this.#held = null
    for (const client of held) if (!client.destroyed) this.#join(client)
  }

  async stop() {
    this.cutAll()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
