// How connections end, and what unchanged clients make of it: expiry, a drain, a gateway that stands
// still, and somebody else's recovery.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { io } from 'socket.io-client';
import { Gateway } from '../browser/gateway.js';
import { Ear, drafts, numbers, token, until } from './support.js';

const SECRET = 'a-secret-of-thirty-two-bytes-or-more';
const KEYS = ['--jwt-secret', SECRET, '--publish-key', 'dev', '--socketio', '/socket.io/'];
const PATHS = { polls: ['polling'], websocket: ['websocket'], both: ['polling', 'websocket'] };

const open = [];
const started = [];
after(async () => {
  open.forEach((socket) => socket.close());
  await Promise.all(started.map((own) => own.stop()));
});

async function serve(listen = '127.0.0.1:0', ...options) {
  const own = await Gateway.run(['serve', '--listen', listen, ...KEYS, ...options]);
  started.push(own);
  return own;
}

function client(own, auth, options = {}) {
  const socket = io(own.origin, { forceNew: true, reconnectionDelay: 50, ...options, auth });
  open.push(socket);
  return new Ear(socket);
}

for (const [name, transports] of Object.entries(PATHS)) {
  test(`over ${name} an expired token: auth as a function recovers, a constant one is refused once`, async () => {
    const own = await serve();
    const topic = `room:expiry-${name}`;
    // Long enough for both to connect on a busy machine.
    const short = token(SECRET, 'alice', 10);
    let asked = 0;
    const renewing = client(own, (send) => {
      asked += 1;
      send({ token: asked === 1 ? short : token(SECRET, 'alice'), topics: topic });
    }, { transports });
    const constant = client(own, { token: short, topics: topic }, { transports });
    await renewing.connected();
    await constant.connected();
    await until('the token has expired for both', () => renewing.connects.length > 1 && constant.errors.length > 0);
    await own.publish(drafts(topic, 1, 3));
    await renewing.hears(3);
    assert.deepEqual([renewing.heard, renewing.connects], [numbers(1, 3), [false, true]]);
    assert.deepEqual([constant.errors.length, constant.errors[0].data.code, constant.socket.active], [1, 'unauthenticated', false]);
  });
}

test('a drain is final for nobody: all go on at the next gateway, recovered', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'socketio-drain-'));
  const options = ['--store', 'disk', '--data-dir', directory, '--drain-seconds', '2', '--reconnects-per-second', '100', '--max-connections-per-user', '0'];
  let own = await serve('127.0.0.1:0', ...options);
  const { host } = new URL(own.origin);
  const topic = 'room:drain';
  const auth = { token: token(SECRET, 'alice'), topics: topic };
  const ears = Array.from({ length: 60 }, (_, n) => client(own, auth, { transports: Object.values(PATHS)[n % 3] }));
  for (const ear of ears) await ear.connected();
  await own.publish(drafts(topic, 1, 5));
  for (const ear of ears) await ear.hears(5);
  await own.stop();
  own = await serve(host, ...options);
  await own.publish(drafts(topic, 6, 10));
  for (const ear of ears) await ear.hears(10);
  for (const ear of ears) {
    assert.deepEqual([...new Set(ear.heard)], numbers(1, 10));
    assert.ok(ear.connects.slice(1).every(Boolean) && ear.socket.active, `${ear.connects}`);
  }
  ears.forEach((ear) => ear.socket.close());
  await own.stop();
  await rm(directory, { recursive: true });
});

test('a gateway that stands still: clients notice, come back and have missed nothing', async () => {
  const own = await serve('127.0.0.1:0', '--socketio-ping-interval', '1', '--socketio-ping-timeout', '2');
  const topic = 'room:still';
  const auth = { token: token(SECRET, 'alice'), topics: topic };
  const ears = Object.values(PATHS).map((transports) => client(own, auth, { transports }));
  for (const ear of ears) await ear.connected();
  await own.publish(drafts(topic, 1, 5));
  for (const ear of ears) await ear.hears(5);
  own.child.kill('SIGSTOP');
  for (const ear of ears) await until('the client notices', () => ear.disconnects.length > 0);
  own.child.kill('SIGCONT');
  await own.publish(drafts(topic, 6, 10));
  for (const ear of ears) await ear.hears(10);
  for (const ear of ears) assert.deepEqual([[...new Set(ear.heard)], ear.connects.slice(1).every(Boolean)], [numbers(1, 10), true]);
});

test("somebody else's pid and offset give nothing of that user", async () => {
  const own = await serve();
  const topic = 'room:stolen';
  let offset;
  const alice = client(own, { token: token(SECRET, 'alice'), topics: topic });
  alice.socket.on('throughline.cursor', (cursor) => { offset = cursor; });
  await alice.connected();
  await new Promise((resolve) => alice.socket.emit('subscribe', { topics: ['room:private'] }, resolve));
  await until('a cursor', () => offset?.endsWith('+'));
  const stolen = { pid: alice.socket._pid, offset };
  await own.publish([{ topic: 'user:alice', type: 'm', data: { n: 1 } }, ...drafts('room:private', 2, 2), ...drafts(topic, 3, 3)]);
  await alice.hears(3);
  const bob = client(own, { token: token(SECRET, 'bob'), topics: topic, ...stolen });
  await bob.hears(3);
  assert.deepEqual(bob.heard, [3]);
  assert.equal(bob.resets.length, 1, 'the session is not his, so what it had is not known');
});
