// What the tests share: events that are counted, and conditions that are waited for.

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
