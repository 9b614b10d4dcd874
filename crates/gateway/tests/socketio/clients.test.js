// The real clients for JavaScript, unchanged, over polls, over WebSocket, and over one after the other.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { io } from 'socket.io-client';
import { io as io3 } from 'socket.io-client-3';
import WebSocket from 'ws';
import { Gateway } from '../browser/gateway.js';
import { Ear, Wire, drafts, numbers, token, until } from './support.js';

const FREE = ['--commands-per-minute', '0', '--publishes-per-minute', '0', '--ring-events', '5000'];
/** A condition that publishes is asked again at once. */
const PUBLISHES_NOW = 0;
const PATHS = { polls: ['polling'], websocket: ['websocket'], both: ['polling', 'websocket'] };

let gateway;
before(async () => { gateway = await Gateway.start('127.0.0.1:0', FREE); });
after(() => gateway?.stop());

const open = [];
const closing = [];
const started = [];
after(async () => {
  open.forEach((socket) => socket.close());
  closing.forEach((close) => close());
  await Promise.all(started.map((own) => own.stop()));
});

/** A gateway of a test's own, with these arguments. */
async function start(args) {
  const own = await Gateway.run(args);
  started.push(own);
  return own;
}

const dev = (options) => start(['dev', '--listen', '127.0.0.1:0', ...options]);

/** A client of `origin` that listens to `topic`. */
function client(make, topic, options = {}, origin = gateway.origin) {
  const auth = { user: 'alice', topics: topic, ...options.auth };
  const socket = make(origin, { forceNew: true, reconnectionDelay: 50, ...options, auth });
  open.push(socket);
  return new Ear(socket);
}

for (const [name, make] of Object.entries({ 'client 4': io, 'client 3': io3 })) {
  for (const [path, transports] of Object.entries(PATHS)) {
    test(`${name} over ${path}: every event once and in order, acknowledgements, topics`, async () => {
      const topic = `room:${name.at(-1)}-${path}`;
      const ear = client(make, topic, { transports });
      await ear.connected();
      for (let from = 1; from <= 400; from += 50) await gateway.publish(drafts(topic, from, from + 49));
      await ear.hears(400);
      assert.deepEqual(ear.heard, numbers(1, 400));
      const ask = (event, body) => new Promise((resolve) => ear.socket.emit(event, body, resolve));
      assert.ok((await ask('ping', {})).ok.time);
      assert.equal((await ask('no such command', {})).error.code, 'bad_request');
      assert.ok((await ask('subscribe', { topics: [`${topic}:more`] })).ok.topics.includes(`${topic}:more`));
      await gateway.publish(drafts(`${topic}:more`, 401, 401));
      await ear.hears(401);
      const { ok } = await ask('publish', { topic, type: 'm', data: { n: 402 } });
      assert.ok(ok.seq > 0);
      await ear.hears(402);
      assert.equal(ear.socket.io.engine.transport.name, transports.at(-1));
      assert.deepEqual([ear.disconnects, ear.resets], [[], []]);
    });
  }
}

for (const [name, transports] of Object.entries(PATHS)) {
  test(`over ${name} a client that is cut again and again recovers each time and misses nothing`, async () => {
    const topic = `room:cut-${name}`;
    const through = await path('passes');
    const ear = client(io, topic, { transports }, through.origin);
    await ear.connected();
    for (let round = 0; round < 12; round += 1) {
      await gateway.publish(drafts(topic, round * 10 + 1, round * 10 + 5));
      if (round % 3 > 0) await ear.hears(round * 10 + 5);
      // A client that polls may have no request under way, and notices nothing.
      through.cut();
      await gateway.publish(drafts(topic, round * 10 + 6, round * 10 + 10));
      await ear.hears(round * 10 + 10);
    }
    // An event may come again if the connection broke before its cursor.
    assert.deepEqual([...new Set(ear.heard)], numbers(1, 120));
    const [first, ...later] = ear.connects;
    assert.ok(first === false && later.length > 3 && later.every(Boolean), `${ear.connects}`);
    assert.deepEqual(ear.resets, []);
  });
}

for (const [name, transports] of Object.entries(PATHS)) {
  test(`with the cursor as argument nothing comes twice over ${name}`, async () => {
    const own = await dev([...FREE, '--socketio-cursor', 'argument']);
    const topic = 'room:argument';
    const through = await path('passes', own.origin);
    const ear = client(io, topic, { transports }, through.origin);
    await ear.connected();
    for (let round = 0; round < 16; round += 1) {
      await own.publish(drafts(topic, round * 10 + 1, round * 10 + 10));
      if (round % 2 > 0) await ear.hears(round * 10 + 5);
      through.cut();
    }
    await ear.hears(160);
    assert.deepEqual(ear.heard, numbers(1, 160));
  });
}

test('a text as last argument does not become the offset', async () => {
  const topic = 'room:text';
  const ear = client(io, topic, { transports: ['websocket'] });
  const notes = [];
  ear.socket.on('note', (note) => notes.push(note));
  await ear.connected();
  await gateway.publish([{ topic, type: 'note', data: 'hello' }, { topic, type: 'note', data: 'volatile', ephemeral: true }]);
  await until('the notes', () => notes.length === 2);
  ear.socket.io.engine.close();
  await gateway.publish(drafts(topic, 1, 1));
  await ear.hears(1);
  assert.deepEqual(ear.connects, [false, true]);
});

test('a client that was away for too long is not recovered and is told what to fetch', async () => {
  const small = await dev(['--ring-events', '10']);
  const topic = 'room:small';
  const ear = client(io, topic, { transports: ['websocket'] }, small.origin);
  await ear.connected();
  await small.publish(drafts(topic, 1, 2));
  await ear.hears(2);
  // It comes back by itself at any time, and has to be away while this is published.
  ear.socket.disconnect();
  await small.publish(drafts(topic, 3, 40));
  ear.socket.connect();
  await ear.hears(40);
  assert.deepEqual(ear.connects, [false, false]);
  assert.deepEqual(ear.heard, [1, 2, ...numbers(31, 40)]);
  assert.equal(ear.resets.length, 1);
  assert.equal(ear.resets[0].reason, 'expired');
  assert.deepEqual(ear.resets[0].topics, [topic]);
});

test('a type that is a name of the client itself disconnects nobody', async () => {
  const topic = 'room:reserved';
  const ear = client(io, topic);
  await ear.connected();
  for (const type of ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener']) {
    await gateway.publish([{ topic, type, data: {} }]);
  }
  await gateway.publish(drafts(topic, 1, 1));
  await ear.hears(1);
  assert.deepEqual([ear.connects, ear.disconnects], [[false], []]);
});

test('a refused token is final and says why, on every path', async () => {
  for (const transports of Object.values(PATHS)) {
    const ear = client(io, 'room:1', { transports, auth: { token: 'no token', user: undefined } });
    await until('refused', () => ear.errors.length > 0);
    assert.equal(ear.errors[0].data.code, 'unauthenticated');
    assert.equal(ear.socket.active, false);
  }
});

test('another namespace is refused as the original refuses it', async () => {
  const socket = io(`${gateway.origin}/room?x=1`, { forceNew: true, auth: { user: 'alice' } });
  open.push(socket);
  const ear = new Ear(socket);
  await until('refused', () => ear.errors.length > 0);
  assert.equal(ear.errors[0].message, 'Invalid namespace');
});

/** A path to `origin` that can be cut, and that refuses WebSockets, or swallows what they carry, if it is to. */
async function path(what, origin = gateway.origin) {
  const sockets = new Set();
  const server = createServer((down) => {
    const up = connectTcp(new URL(origin).port, '127.0.0.1');
    sockets.add(down).add(up);
    for (const socket of [down, up]) socket.on('error', () => {}).on('close', () => { down.destroy(); up.destroy(); });
    let swallows = false;
    down.on('data', (bytes) => {
      const upgrades = /^upgrade: websocket/im.test(bytes.toString('latin1'));
      if (upgrades && what === 'refuses') {
        down.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
        return;
      }
      if (!swallows) up.write(bytes);
      swallows ||= upgrades && what === 'swallows';
    });
    up.on('data', (bytes) => {
      if (!swallows || bytes.toString('latin1').startsWith('HTTP/1.1 101')) down.write(bytes);
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => sockets.forEach((socket) => socket.destroy());
  const close = () => { cut(); server.close(); };
  closing.push(close);
  return { origin: `http://127.0.0.1:${server.address().port}`, cut, close };
}

describe('where WebSockets do not work', () => {
  for (const what of ['refuses', 'swallows']) {
    test(`a path that ${what} them: polls go on, and no event is lost`, async () => {
      const topic = `room:${what}`;
      const through = await path(what);
      const ear = client(io, topic, {}, through.origin);
      await ear.connected();
      for (let from = 1; from <= 200; from += 20) await gateway.publish(drafts(topic, from, from + 19));
      await ear.hears(200);
      assert.deepEqual(ear.heard, numbers(1, 200));
      assert.equal(ear.socket.io.engine.transport.name, 'polling');
      assert.deepEqual(ear.disconnects, []);
      ear.socket.close();
      through.close();
    });
  }
});

test('events of the time of an upgrade come once and in order', async () => {
  for (let round = 0; round < 10; round += 1) {
    const topic = `room:upgrade-${round}`;
    const ear = client(io, topic);
    let is_upgraded = false;
    ear.socket.io.engine.once('upgrade', () => { is_upgraded = true; });
    await ear.connected();
    let last = 0;
    await until('upgraded under events', async () => {
      await gateway.publish(drafts(topic, last + 1, last + 3));
      last += 3;
      return is_upgraded && last >= 60;
    }, PUBLISHES_NOW);
    await ear.hears(last);
    assert.deepEqual(ear.heard, numbers(1, last));
    ear.socket.close();
  }
});

test('pings keep a client connected whatever else is sent, and one that does not answer is let go', async () => {
  const options = [...FREE, '--socketio-ping-interval', '1', '--socketio-ping-timeout', '20'];
  const quick = await dev(options);
  for (const transports of [['websocket'], ['polling']]) {
    const topic = `room:ping-${transports}`;
    const ear = client(io, topic, { transports }, quick.origin);
    let pings = 0;
    ear.socket.io.on('ping', () => { pings += 1; });
    await ear.connected();
    let last = 0;
    // Each round waits for its events: a machine that polls slowly is not to fall behind the log.
    await until('four pings between events', async () => {
      await quick.publish(drafts(topic, last + 1, last + 5));
      last += 5;
      await ear.hears(last);
      return pings >= 4;
    }, PUBLISHES_NOW);
    assert.deepEqual([ear.heard, ear.disconnects], [numbers(1, last), []]);
  }
});

test('kill -9 and a new gateway on the same log: recovered, nothing missed', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'socketio-'));
  const secret = 'a-secret-of-thirty-two-bytes-or-more';
  const args = ['--jwt-secret', secret, '--publish-key', 'dev', '--store', 'disk', '--data-dir', directory, '--socketio', '/socket.io/'];
  let own = await start(['serve', '--listen', '127.0.0.1:0', ...args, ...FREE]);
  const { port } = new URL(own.origin);
  const topic = 'room:kill';
  const ear = client(io, topic, { auth: { token: token(secret, 'alice'), user: undefined } }, own.origin);
  await ear.connected();
  for (let round = 0; round < 3; round += 1) {
    const connects = ear.connects.length;
    await own.publish(drafts(topic, round * 10 + 1, round * 10 + 10));
    await ear.hears(round * 10 + 5);
    await own.stop('SIGKILL');
    own = await start(['serve', '--listen', `127.0.0.1:${port}`, ...args, ...FREE]);
    await until('connected again', () => ear.connects.length > connects && ear.socket.connected);
    await ear.hears(round * 10 + 10);
  }
  assert.deepEqual([...new Set(ear.heard)], numbers(1, 30));
  assert.deepEqual(ear.connects, [false, true, true, true]);
  ear.socket.close();
  await own.stop();
  await rm(directory, { recursive: true });
});

for (const [name, transports] of Object.entries(PATHS)) {
  test(`over ${name} topics of a command come along when the client recovers`, async () => {
    const [first, later] = [`room:first-${name}`, `room:later-${name}`];
    const ear = client(io, first, { transports });
    await ear.connected();
    const { ok } = await new Promise((resolve) => ear.socket.emit('subscribe', { topics: [later] }, resolve));
    assert.ok(ok.topics.includes(later));
    await gateway.publish(drafts(later, 1, 1));
    await ear.hears(1);
    ear.socket.io.engine.close();
    await gateway.publish(drafts(later, 2, 2));
    await ear.hears(2);
    assert.deepEqual([ear.connects, ear.resets], [[false, true], []]);
  });
}

test('a client whose topics are not known here is not recovered', async () => {
  const topic = 'room:elsewhere';
  let offset;
  const first = client(io, topic, { transports: ['websocket'] });
  first.socket.on('throughline.cursor', (cursor) => { offset = cursor; });
  await first.connected();
  await new Promise((resolve) => first.socket.emit('subscribe', { topics: ['room:other'] }, resolve));
  await gateway.publish(drafts('room:other', 1, 1));
  await until('a cursor that says so', () => offset?.endsWith('+'));
  first.socket.close();
  await gateway.publish(drafts(topic, 2, 2));
  // As the client would come to another gateway, which has never heard of its session.
  const { sid, pid, reset, heard } = await recovering({ pid: 'of-another-gateway', offset }, topic);
  assert.ok(sid && pid !== 'of-another-gateway');
  assert.deepEqual(reset.topics.includes(topic), true);
  assert.deepEqual(heard, [2], 'what is in the topics that it named comes all the same');
  const known = await recovering({ pid: 'of-another-gateway', offset: offset.slice(0, -1) }, topic);
  assert.equal(known.pid, 'of-another-gateway');
});

/** Sends a CONNECT with these members, and says what comes up to the first event. */
async function recovering(members, topics) {
  const wire = new Wire(new WebSocket(`${gateway.origin.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`));
  await wire.next();
  wire.send(`40${JSON.stringify({ user: 'alice', topics, ...members })}`);
  const heard = [];
  let reset;
  const { sid, pid } = JSON.parse((await wire.nextMessage()).slice(2));
  await until('an event', async () => {
    const [name, data] = JSON.parse((await wire.nextMessage()).slice(2));
    if (name === 'm') heard.push(data.n);
    if (name === 'throughline.reset') reset = data;
    return heard.length > 0;
  });
  wire.close();
  return { sid, pid, reset, heard };
}
