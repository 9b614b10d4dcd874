// The real client for Python, unchanged. Left out where its package cannot be installed.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { fileURLToPath } from 'node:url';
import { Gateway } from '../browser/gateway.js';

const PYTHON = process.env.SOCKETIO_PYTHON ?? fileURLToPath(new URL('../../../../target/tools/socketio/bin/python', import.meta.url));
const CLIENT = fileURLToPath(new URL('client.py', import.meta.url));
let gateway;
before(async () => { gateway = await Gateway.start('127.0.0.1:0', ['--commands-per-minute', '0', '--publishes-per-minute', '0']); });
after(() => gateway?.stop());

for (const transports of ['polling', 'websocket', 'both']) {
  const skip = existsSync(PYTHON) ? false : 'python-socketio is not installed';
  test(`the client for Python over ${transports}: a burst in order, one argument, acknowledgements`, { skip }, async () => {
    const { stdout } = await promisify(execFile)(PYTHON, [CLIENT, gateway.origin, transports]);
    const { heard, ack, transport } = JSON.parse(stdout);
    assert.deepEqual(heard, Array.from({ length: 200 }, (_, n) => n));
    assert.ok(ack.ok.time);
    assert.equal(transport, transports === 'polling' ? 'polling' : 'websocket');
  });
}
