// Two gateways of one log behind the nginx of deploy/: sticky sessions by the address of the client.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent } from 'node:http';
import { createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { io } from 'socket.io-client';
import { Ear, drafts, numbers, token, until } from './support.js';

const PROCESSES = fileURLToPath(new URL('../../../../deploy/processes', import.meta.url));
const GATEWAY = process.env.GATEWAY_BIN ?? fileURLToPath(new URL('../../../../target/debug/gateway', import.meta.url));
const SECRET = 'a-secret-of-thirty-two-bytes-or-more';
const PATHS = { polls: ['polling'], websocket: ['websocket'], both: ['polling', 'websocket'] };

function isThere(program) {
  try {
    execFileSync(program, ['-v'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
const skip = isThere('nginx') && isThere('redis-server') ? false : 'nginx or redis-server is not installed';

/** The first of four ports in a row that are free. */
async function freePorts() {
  for (let tries = 0; tries < 100; tries += 1) {
    const first = 20_000 + Math.floor(Math.random() * 10_000);
    const servers = [];
    const listens = [0, 1, 2, 3].map((at) => new Promise((resolve) => {
      const server = createServer();
      servers.push(server);
      server.once('error', () => resolve(false)).listen(first + at, '127.0.0.1', () => resolve(true));
    }));
    const areFree = (await Promise.all(listens)).every(Boolean);
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    if (areFree) return first;
  }
  throw new Error('no four free ports in a row');
}

describe('two gateways behind nginx', { skip }, () => {
  let port;
  let child;
  let pids;
  const open = [];
  before(async () => {
    port = await freePorts();
    const env = { ...process.env, GATEWAY_JWT_SECRET: SECRET, GATEWAY_PUBLISH_KEY: 'dev', GATEWAY_COMMANDS_PER_MINUTE: '0' };
    child = spawn(PROCESSES, [String(port), GATEWAY], { env, stdio: ['ignore', 'pipe', 'ignore'] });
    const [line] = await once(createInterface({ input: child.stdout }), 'line');
    pids = /gateways (\d+) (\d+)/.exec(line).slice(1).map(Number);
  });
  after(async () => {
    open.forEach((socket) => socket.close());
    if (child.exitCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit');
  });

  const origin = (at = 0) => `http://127.0.0.1:${port + at}`;
  async function publish(body) {
    const headers = { Authorization: 'Bearer dev', 'Content-Type': 'application/json' };
    const response = await fetch(`${origin()}/v1/publish`, { method: 'POST', headers, body: JSON.stringify(body) });
    assert.equal(response.status, 200);
  }
  /** A client at this address of the loopback network. */
  function client(address, topic, transports) {
    const agent = new Agent({ keepAlive: true, localAddress: address });
    const auth = { token: token(SECRET, 'alice'), topics: topic };
    const socket = io(origin(), { forceNew: true, reconnectionDelay: 50, transports, agent, auth });
    open.push(socket);
    return new Ear(socket);
  }
  async function figure(at, pattern) {
    const text = await (await fetch(`${origin(at)}/metrics`)).text();
    return Number(pattern.exec(text)?.[1] ?? 0);
  }
  const misses = (at) => figure(at, /socketio_handshakes_total\{result="unknown_session"\} (\d+)/);
  const opened = (at) => figure(at, /socketio_handshakes_total\{result="polling"\} (\d+)/);

  test('a poll at the wrong gateway is counted', async () => {
    const { sid } = JSON.parse((await (await fetch(`${origin(1)}/socket.io/?EIO=4&transport=polling`)).text()).slice(1));
    const response = await fetch(`${origin(2)}/socket.io/?EIO=4&transport=polling&sid=${sid}`);
    assert.deepEqual([response.status, (await response.json()).code], [400, 1]);
    assert.equal(await misses(2), 1);
  });

  test('clients of many addresses are spread, each keeps its gateway, and each hears every event', async () => {
    const topic = 'room:sticky';
    const before = [await misses(1), await misses(2)];
    const ears = [];
    for (let n = 2; n < 14; n += 1) ears.push(client(`127.0.0.${n}`, topic, Object.values(PATHS)[n % 3]));
    for (const ear of ears) await ear.connected();
    for (let from = 1; from <= 100; from += 10) {
      await publish(drafts(topic, from, from + 9));
      for (const ear of ears) await ear.hears(from + 9);
    }
    for (const ear of ears) assert.deepEqual([ear.heard, ear.disconnects], [numbers(1, 100), []]);
    assert.deepEqual([await misses(1), await misses(2)], before);
    assert.ok(await opened(1) > 0 && await opened(2) > 0, 'both gateways have some');
    ears.forEach((ear) => ear.socket.close());
  });

  test('a gateway dies, and its clients go on at the other one, recovered', async () => {
    const topic = 'room:dies';
    const ears = [];
    for (let n = 2; n < 14; n += 1) ears.push(client(`127.0.0.${n}`, topic, Object.values(PATHS)[n % 3]));
    for (const ear of ears) await ear.connected();
    await publish(drafts(topic, 1, 10));
    for (const ear of ears) await ear.hears(10);
    process.kill(pids[0], 'SIGKILL');
    await until('a publish passes', async () => publish(drafts(topic, 11, 20)).then(() => true, () => false));
    for (const ear of ears) await ear.hears(20);
    for (const ear of ears) {
      assert.deepEqual([...new Set(ear.heard)], numbers(1, 20));
      assert.deepEqual(ear.resets, []);
      assert.ok(ear.connects.slice(1).every(Boolean), `${ear.connects}`);
    }
    assert.ok(ears.some((ear) => ear.connects.length > 1), 'some were at the gateway that died');
  });
});
