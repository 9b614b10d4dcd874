// Version 2 of the real client for JavaScript, which speaks Engine.IO 3, unchanged.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import io2 from 'socket.io-client-2';
import WebSocket from 'ws';
import { Gateway } from '../browser/gateway.js';
import { Ear, Wire, drafts, numbers, token, until } from './support.js';

const FREE = ['--commands-per-minute', '0', '--publishes-per-minute', '0', '--ring-events', '5000'];
const PATHS = { polls: ['polling'], websocket: ['websocket'], both: ['polling', 'websocket'] };
const SECRET = 'a-secret-of-thirty-two-bytes-or-more';
const DIALECT = fileURLToPath(new URL('../../../../fixtures/socketio/song-rooms.json', import.meta.url));

let gateway;
before(async () => { gateway = await Gateway.start('127.0.0.1:0', ['--socketio-eio3', ...FREE]); });
after(() => gateway?.stop());

const open = [];
const started = [];
after(async () => {
  open.forEach((socket) => socket.close());
  await Promise.all(started.map((own) => own.stop()));
});

async function start(args) {
  const own = await Gateway.run(args);
  started.push(own);
  return own;
}

function client(query, options = {}, origin = gateway.origin) {
  const socket = io2(origin, { forceNew: true, reconnectionDelay: 50, ...options, query });
  open.push(socket);
  return new Ear(socket);
}

for (const [path, transports] of Object.entries(PATHS)) {
  test(`client 2 over ${path}: every event once and in order, acknowledgements, topics`, async () => {
    const topic = `room:2-${path}`;
    const ear = client({ user: 'alice', topics: topic }, { transports });
    await ear.connected();
    for (let from = 1; from <= 400; from += 50) await gateway.publish(drafts(topic, from, from + 49));
    await ear.hears(400);
    assert.deepEqual(ear.heard, numbers(1, 400));
    const ask = (event, body) => new Promise((resolve) => ear.socket.emit(event, body, resolve));
    assert.equal((await ask('no such command', {})).error.code, 'bad_request');
    assert.ok((await ask('subscribe', { topics: [`${topic}:more`] })).ok.topics.includes(`${topic}:more`));
    await gateway.publish(drafts(`${topic}:more`, 401, 401));
    await ear.hears(401);
    assert.ok((await ask('publish', { topic, type: 'm', data: { n: 402 } })).ok.seq > 0);
    await ear.hears(402);
    assert.equal(ear.socket.io.engine.transport.name, transports.at(-1));
    assert.deepEqual(ear.disconnects, []);
  });

  test(`client 2 over ${path}: lengths count as JavaScript counts`, async () => {
    const topic = `room:text-${path}`;
    const ear = client({ user: 'alice', topics: topic }, { transports });
    const notes = [];
    ear.socket.on('note', (note) => notes.push(note));
    await ear.connected();
    const texts = ['é', '€', '😀', 'é€😀:1:2', '\u2028'];
    await gateway.publish(texts.map((data) => ({ topic, type: 'note', data })));
    for (const data of texts) ear.socket.emit('publish', { topic, type: 'note', data });
    await until('all notes', () => notes.length === 2 * texts.length);
    assert.deepEqual([...notes].sort(), [...texts, ...texts].sort());
    assert.deepEqual(ear.disconnects, []);
  });

  test(`client 2 over ${path}: its pings keep it connected`, async () => {
    const quick = await start(['dev', '--listen', '127.0.0.1:0', '--socketio-eio3', '--socketio-ping-interval', '1', '--socketio-ping-timeout', '60', ...FREE]);
    const topic = `room:ping-${path}`;
    const ear = client({ user: 'alice', topics: topic }, { transports }, quick.origin);
    let pongs = 0;
    ear.socket.on('pong', () => { pongs += 1; });
    await ear.connected();
    await until('four pongs', () => pongs >= 4);
    await quick.publish(drafts(topic, 1, 5));
    await ear.hears(5);
    assert.deepEqual([ear.heard, ear.disconnects], [numbers(1, 5), []]);
  });

  test(`client 2 over ${path}: a token in an event of a dialect`, async () => {
    const own = await start(['serve', '--listen', '127.0.0.1:0', '--jwt-secret', SECRET, '--publish-key', 'dev', '--socketio', '/socket.io/', '--socketio-eio3', '--socketio-dialect', DIALECT]);
    const ear = client({}, { transports }, own.origin);
    const got = [];
    for (const name of ['connected', 'authenticated', 'room_joined']) ear.socket.on(name, (data) => got.push([name, data]));
    await until('connected', () => got.length === 1);
    ear.socket.emit('authenticate', { token: token(SECRET, 'ann') });
    await until('authenticated', () => got.length === 2);
    ear.socket.emit('join_room', { room_id: 'song' });
    await until('joined', () => got.length === 3);
    assert.deepEqual(got.map(([name]) => name), ['connected', 'authenticated', 'room_joined']);
  });
}

test('client 2 goes on from an offset in its query', async () => {
  const topic = 'room:offset';
  const cursors = [];
  const first = client({ user: 'alice', topics: topic });
  first.socket.on('throughline.cursor', (cursor) => cursors.push(cursor));
  await first.connected();
  await gateway.publish(drafts(topic, 1, 1));
  await first.hears(1);
  await until('its cursor', () => cursors.length > 1);
  first.socket.close();
  await gateway.publish(drafts(topic, 2, 20));
  const second = client({ user: 'alice', topics: topic, offset: cursors.at(-1) });
  await second.hears(20);
  assert.deepEqual(second.heard, numbers(2, 20));
});

test('client 2 learns why it is refused', async () => {
  for (const transports of Object.values(PATHS)) {
    const ear = client({ token: 'no token' }, { transports });
    const errors = [];
    ear.socket.on('error', (error) => errors.push(error));
    await until('refused', () => errors.length > 0);
    assert.equal(typeof errors[0], 'string');
    assert.equal(ear.socket.connected, false);
  }
});

test('without the option client 2 is refused as the original refuses it', async () => {
  const plain = await start(['dev', '--listen', '127.0.0.1:0']);
  const response = await fetch(`${plain.origin}/socket.io/?EIO=3&transport=polling`);
  assert.deepEqual([response.status, (await response.json()).code], [400, 5]);
  const ear = client({ user: 'alice' }, {}, plain.origin);
  await until('refused', () => ear.errors.length > 0);
});

const url = (origin, query) => `${origin}/socket.io/?${new URLSearchParams({ EIO: 3, user: 'alice', ...query })}`;

test('the wire of revision 3: lengths, an answer to a CONNECT that was not sent, pongs', async () => {
  const handshake = await (await fetch(url(gateway.origin, { transport: 'polling', b64: 1 }))).text();
  const [, length, open] = /^(\d+):(0\{.*\})$/.exec(handshake);
  assert.equal(Number(length), open.length);
  const { sid } = JSON.parse(open.slice(1));
  const poll = url(gateway.origin, { transport: 'polling', sid });
  const first = await (await fetch(poll)).text();
  assert.match(first, /^2:40\d+:42\["throughline\.cursor","\w+\.\d+"\]$/);
  assert.equal(await (await fetch(poll, { method: 'POST', body: '1:22:3x' })).text(), 'ok');
  assert.equal(await (await fetch(poll)).text(), '1:3');
  const other = url(gateway.origin, { EIO: 4, transport: 'polling', sid });
  assert.equal((await fetch(other)).status, 400, 'a session keeps its revision');
  assert.equal((await fetch(poll, { method: 'POST', body: '9:2' })).status, 400);
  assert.equal((await fetch(poll)).status, 400, 'the session has ended');
});

test('a client of revision 3 that does not ping is let go, on a WebSocket and on polls', async () => {
  const quick = await start(['dev', '--listen', '127.0.0.1:0', '--socketio-eio3', '--socketio-ping-interval', '1', '--socketio-ping-timeout', '1']);
  const wire = new Wire(new WebSocket(url(quick.origin, { transport: 'websocket' }).replace('http', 'ws')));
  await wire.closed;
  assert.equal(wire.got.filter((packet) => packet === '2').length, 0, 'the client pings, not the gateway');
  assert.equal(wire.got.at(-1), '1');
  const { sid } = JSON.parse(/0(\{.*\})/.exec(await (await fetch(url(quick.origin, { transport: 'polling' }))).text())[1]);
  const poll = url(quick.origin, { transport: 'polling', sid });
  await until('its session ends', async () => (await fetch(poll)).status === 400);
});
