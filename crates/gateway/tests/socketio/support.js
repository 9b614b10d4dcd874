// What the tests share: events that are counted, and conditions that are waited for.

import { createHmac } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

/** Generous, because a busy machine is no failure. */
const PATIENCE_MS = 120_000;

/** Waits until `holds()` is true, and asks it again after `pause_ms`. */
export async function until(what, holds, pause_ms = 10) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await sleep(pause_ms);
  }
}

/** Drafts `from` to `to`, numbered, for one topic. */
export function drafts(topic, from, to) {
  return Array.from({ length: to - from + 1 }, (_, at) => ({ topic, type: 'm', data: { n: from + at } }));
}

export function numbers(from, to) {
  return Array.from({ length: to - from + 1 }, (_, at) => from + at);
}

/** A token of this user, who may read every room and publish to it. */
export function token(secret, user, seconds = 3600) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { sub: user, subscribe: ['room:*'], publish: ['room:*'], exp: Math.floor(Date.now() / 1000) + seconds };
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

/** Records what a client is told: numbers of events, connections, ends. */
export class Ear {
  constructor(socket) {
    this.socket = socket;
    this.heard = [];
    this.connects = [];
    this.disconnects = [];
    this.errors = [];
    this.resets = [];
    socket.on('m', ({ n }) => this.heard.push(n));
    socket.on('throughline.reset', (reset) => this.resets.push(reset));
    socket.on('connect', () => this.connects.push(socket.recovered));
    socket.on('disconnect', (reason) => this.disconnects.push(reason));
    socket.on('connect_error', (error) => this.errors.push(error));
  }

  connected() {
    return until('connected', () => this.socket.connected);
  }

  hears(n) {
    return until(`event ${n}; heard so far: ${this.heard.slice(-5)}`, () => this.heard.includes(n));
  }
}

/** A WebSocket whose messages are taken one after the other. */
export class Wire {
  constructor(socket) {
    this.socket = socket;
    this.got = [];
    this.isClosed = false;
    socket.on('message', (data, isBinary) => this.got.push(isBinary ? data : data.toString()));
    socket.on('error', () => {});
    socket.on('close', () => { this.isClosed = true; });
    this.opened = new Promise((resolve) => socket.on('open', resolve));
  }

  get closed() {
    return until('closed', () => this.isClosed);
  }

  send(data) {
    this.socket.send(data);
  }

  close() {
    this.socket.terminate();
  }

  /** The next message, pings included. */
  async next() {
    await until('a message', () => this.got.length > 0 || this.isClosed);
    if (this.got.length === 0) throw new Error('closed without a message');
    return this.got.shift();
  }

  /** The next message that is no ping; pings are answered. */
  async nextMessage() {
    for (;;) {
      const message = await this.next();
      if (message !== '2') return message;
      this.send('3');
    }
  }
}
