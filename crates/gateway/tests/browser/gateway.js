// Starts the real binary: `gateway dev` or `gateway serve` on a free loopback port, stopped when the test is over.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../../../target', import.meta.url));
const BINARY = process.env.GATEWAY_BIN ?? join(TARGET, 'debug/gateway');
/** Ends the gateway with this process, whether its tests hold, fail or are killed. */
const BOUND = fileURLToPath(new URL('../../../../.ci/bound', import.meta.url));
/** Generous, because a busy machine is no failure. */
const START_MS = 120_000;

export class Gateway {
  /** `listen` is an address to take; the default is a free port. `options` are for the command line. */
  static start(listen = '127.0.0.1:0', options = []) {
    return Gateway.run(['dev', '--listen', listen, ...options]);
  }

  /** Runs it with these arguments. */
  static async run(args) {
    if (!existsSync(BINARY)) throw new Error(`no gateway at ${BINARY}: build it with \`cargo build -p gateway\` or set GATEWAY_BIN`);
    const child = spawn(BOUND, [BINARY, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const gateway = new Gateway(child);
    gateway.origin = await gateway.ready();
    return gateway;
  }

  constructor(child) {
    this.child = child;
    this.log = '';
    child.stderr.on('data', (chunk) => { this.log = (this.log + chunk).slice(-20_000); });
    this.exited = once(child, 'exit');
  }

  get address() {
    return new URL(this.origin).host;
  }

  ready() {
    return new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`the gateway ${why}\n${this.log}`));
      const timer = setTimeout(() => fail(`was not ready within ${START_MS} ms`), START_MS);
      this.exited.then(([code]) => fail(`exited with ${code}`));
      createInterface({ input: this.child.stdout }).on('line', (line) => {
        const origin = /^listening on (http:\/\/\S+)$/.exec(line)?.[1];
        if (!origin) return;
        clearTimeout(timer);
        resolve(origin);
      });
    });
  }

  async stop(signal = 'SIGTERM') {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const late = setTimeout(() => this.child.kill('SIGKILL'), 8000);
    this.child.kill(signal);
    await this.exited;
    clearTimeout(late);
  }

  /** Publishes as a backend would, and answers the results. */
  async publish(drafts) {
    const response = await fetch(`${this.origin}/v1/publish`, {
      method: 'POST',
      headers: { Authorization: 'Bearer dev', 'Content-Type': 'application/json' },
      body: JSON.stringify(drafts),
    });
    if (response.status !== 200) throw new Error(`publish answered ${response.status}: ${await response.text()}`);
    return response.json();
  }
}
