// The three transports as the editors use them: what arrives, in the log's order, over a line that is cut now and then.

import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';

/** A line to one topic. `onBatch` gets every batch; a cut line comes back with its cursor. */
class Line {
  constructor(origin, user, topic, onBatch) {
    Object.assign(this, { origin, user, topic, onBatch, cursor: 'earliest', closed: false, cuts: 0, cut: () => {} });
    this.running = this.run();
  }

  url(path, more = {}) {
    const url = new URL(path, this.origin);
    const parameters = { user: this.user, topics: this.topic, after: this.cursor, ...more };
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
    return url;
  }

  take(text) {
    const batch = JSON.parse(text);
    if (batch.reset) throw new Error(`nothing may be lost here: ${text}`);
    // A stream that is being cut may still have had something in its buffer.
    if (!batch.hello && this.cursor !== 'earliest' && batch.after !== this.cursor) return;
    this.cursor = batch.cursor;
    this.onBatch(batch);
  }

  async run() {
    while (!this.closed) {
      await this.connect().catch((error) => {
        if (error.name !== 'AbortError') throw error;
      });
      if (!this.closed) {
        this.cuts += 1;
        await sleep(Math.random() * 20);
      }
    }
  }

  /** Publishes beside the line. */
  async publish(draft) {
    const url = new URL('/v1/send', this.origin);
    url.searchParams.set('user', this.user);
    const response = await fetch(url, { method: 'POST', body: JSON.stringify({ id: 1, op: 'publish', ...draft }) });
    return response.json();
  }

  async close() {
    this.closed = true;
    this.cut();
    await this.running;
  }
}

export class WsLine extends Line {
  waiting = new Map();
  number = 0;

  connect() {
    return new Promise((resolve) => {
      const url = this.url('/v1/ws');
      url.protocol = 'ws:';
      const socket = new WebSocket(url);
      this.socket = socket;
      this.cut = () => socket.terminate();
      socket.on('message', (data) => {
        const text = String(data);
        const { reply } = JSON.parse(text);
        if (reply === undefined) this.take(text);
        else this.waiting.get(reply)?.({ ...JSON.parse(text) });
      });
      socket.on('error', () => {});
      socket.on('close', () => {
        // Whether these were published is for the log to say.
        for (const answer of this.waiting.values()) answer({ error: { code: 'cut' } });
        this.waiting.clear();
        resolve();
      });
    });
  }

  publish(draft) {
    if (this.socket?.readyState !== WebSocket.OPEN) return { error: { code: 'cut' } };
    const id = (this.number += 1);
    return new Promise((resolve) => {
      this.waiting.set(id, (answer) => {
        this.waiting.delete(id);
        resolve(answer);
      });
      this.socket.send(JSON.stringify({ id, op: 'publish', ...draft }));
    });
  }
}

export class SseLine extends Line {
  async connect() {
    const abort = new AbortController();
    this.cut = () => abort.abort();
    const response = await fetch(this.url('/v1/sse'), { signal: abort.signal });
    const decoder = new TextDecoder();
    let text = '';
    for await (const chunk of response.body) {
      text += decoder.decode(chunk, { stream: true });
      const lines = text.split('\n');
      text = lines.pop();
      for (const line of lines) if (line.startsWith('data: ')) this.take(line.slice(6));
    }
  }
}

export class PollLine extends Line {
  async connect() {
    const abort = new AbortController();
    this.cut = () => abort.abort();
    for (;;) {
      const response = await fetch(this.url('/v1/poll', { wait: 5 }), { signal: abort.signal });
      this.take(await response.text());
    }
  }
}
