// The real clients for Python, Java, Go and Rust, unchanged. Left out where they are not installed:
// `make test-socketio` installs the one for Python, `make test-socketio-clients` all of them.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { fileURLToPath } from 'node:url';
import { Gateway } from '../browser/gateway.js';
import { drafts, numbers, until } from './support.js';

const FREE = ['--commands-per-minute', '0', '--publishes-per-minute', '0'];
const TOOLS = fileURLToPath(new URL('../../../../target/tools/socketio/', import.meta.url));
const PYTHON = process.env.SOCKETIO_PYTHON ?? `${TOOLS}bin/python`;
const PYTHON_CLIENT = fileURLToPath(new URL('clients/client.py', import.meta.url));
const TRANSPORTS = ['polling', 'websocket', 'both'];

function jars() {
  const folder = `${TOOLS}java/lib`;
  return existsSync(folder) ? readdirSync(folder).map((jar) => `${folder}/${jar}`) : [];
}

/** How the client of each language is started; it says that it is connected, and then what it heard. */
const CLIENTS = {
  java: ['java', '-cp', [`${TOOLS}java/client-1.jar`, ...jars()].join(':'), 'Client'],
  go: [`${TOOLS}go/client`],
  rust: [`${TOOLS}rust/debug/socketio-client`],
};

let gateway;
before(async () => { gateway = await Gateway.start('127.0.0.1:0', FREE); });
after(() => gateway?.stop());

for (const transports of TRANSPORTS) {
  const skip = existsSync(`${TOOLS}python.installed`) ? false : 'python-socketio is not installed';
  test(`the client for Python over ${transports}: a burst in order, one argument, acknowledgements`, { skip }, async () => {
    const { stdout } = await promisify(execFile)(PYTHON, [PYTHON_CLIENT, gateway.origin, transports]);
    const { heard, ack, transport } = JSON.parse(stdout);
    assert.deepEqual(heard, Array.from({ length: 200 }, (_, n) => n));
    assert.ok(ack.ok.time);
    assert.equal(transport, transports === 'polling' ? 'polling' : 'websocket');
  });
}

for (const [language, [program, ...args]] of Object.entries(CLIENTS)) {
  const skip = existsSync(`${TOOLS}${language}.installed`) ? false : `the client for ${language} is not installed`;
  for (const transports of TRANSPORTS) {
    test(`the client for ${language} over ${transports}: a burst in order, acknowledgements`, { skip }, async () => {
      // The client for Go sends nothing over polls while a poll waits, so a ping has to come soon.
      const own = await Gateway.start('127.0.0.1:0', [...FREE, '--socketio-ping-interval', '2', '--socketio-ping-timeout', '60']);
      const child = spawn(program, [...args, own.origin, transports], { stdio: ['ignore', 'pipe', 'pipe'] });
      try {
        const lines = [];
        let errors = '';
        let hasExited = false;
        createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
        child.stderr.on('data', (text) => { errors += text; });
        child.on('exit', () => { hasExited = true; });
        const says = (what, matches) => until(`${language}: ${what}`, () => {
          if (hasExited && !lines.some(matches)) throw new Error(errors);
          return lines.some(matches);
        });
        await says('connected', (line) => line === 'connected');
        await own.publish(drafts(`room:${language}-${transports}`, 1, 100));
        await own.publish(drafts(`room:${language}-${transports}`, 101, 200));
        const isReport = (line) => line.startsWith('{');
        await says('a report', isReport);
        const { heard, ack } = JSON.parse(lines.find(isReport));
        assert.deepEqual(heard, numbers(1, 200));
        assert.ok(ack.ok.time);
        const metrics = await (await fetch(`${own.origin}/metrics`)).text();
        const upgrades = Number(/socketio_handshakes_total\{result="upgraded"\} (\d+)/.exec(metrics)[1]);
        assert.equal(upgrades > 0, transports === 'both', `${upgrades} upgrades`);
      } finally {
        child.kill('SIGKILL');
        await own.stop();
      }
    });
  }
}
