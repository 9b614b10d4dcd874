// Each statement of the public test suites of Engine.IO 4 (24) and Socket.IO 5 (32), as tests of our
// own against the endpoint that sends back what it gets. `make test-socketio-suites` runs the suites
// themselves where they can be fetched. docs/socketio.md has the one deviation.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';
import { Gateway } from '../browser/gateway.js';
import { Wire, until } from './support.js';

const OPTIONS = ['--socketio-ping-interval', '1', '--socketio-ping-timeout', '1', '--max-body-bytes', '1000000'];
const HANDSHAKE = { pingInterval: 1000, pingTimeout: 1000, maxPayload: 1_000_000 };

/** What both suites state about Engine.IO. */
function engineStatements(server) {
  const fetched = (query, init) => fetch(server.url(query), init);
  const polling = { transport: 'polling' };

  async function open() {
    const { sid } = JSON.parse((await (await fetched(polling)).text()).slice(1));
    const query = { transport: 'polling', sid };
    return { query, sid, get: () => fetched(query), post: (body) => fetched(query, { method: 'POST', body }) };
  }

  test('handshake by polls: opens a session', async () => {
    const response = await fetched(polling);
    assert.equal(response.status, 200);
    const text = await response.text();
    assert.equal(text[0], '0');
    const { sid, upgrades, ...rest } = JSON.parse(text.slice(1));
    assert.equal(typeof sid, 'string');
    assert.deepEqual([upgrades, rest], [['websocket'], HANDSHAKE]);
  });

  for (const [what, query, init] of [
    ['without EIO', { ...polling, EIO: null }],
    ['with an EIO that is none', { ...polling, EIO: 'abc' }],
    ['without a transport', {}],
    ['with a transport that is none', { transport: 'abc' }],
    ['by POST', polling, { method: 'POST' }],
    ['by PUT', polling, { method: 'PUT' }],
  ]) {
    test(`handshake by polls ${what}: refused`, async () => assert.equal((await fetched(query, init)).status, 400));
  }

  test('handshake on a WebSocket: opens a session', async () => {
    const wire = server.connect();
    const text = await wire.next();
    assert.equal(text[0], '0');
    const { sid, upgrades, ...rest } = JSON.parse(text.slice(1));
    assert.equal(typeof sid, 'string');
    assert.deepEqual([upgrades, rest], [[], HANDSHAKE]);
  });

  for (const query of [{ EIO: null }, { EIO: 'abc' }, { transport: null }, { transport: 'abc' }]) {
    test(`handshake on a WebSocket with ${JSON.stringify(query)}: closed`, () => server.connect(query).closed);
  }

  test('heartbeat by polls: pings are answered', async () => {
    const session = await open();
    for (let round = 0; round < 3; round += 1) {
      const poll = await session.get();
      assert.deepEqual([poll.status, await poll.text()], [200, '2']);
      assert.equal((await session.post('3')).status, 200);
    }
  });

  test('heartbeat by polls: a session whose client is silent ends', async () => {
    const session = await open();
    await sleep(2000);
    assert.equal((await session.get()).status, 400);
  });

  test('heartbeat on a WebSocket: pings are answered', async () => {
    const wire = server.connect();
    await wire.next();
    for (let round = 0; round < 3; round += 1) {
      assert.equal(await wire.next(), '2');
      wire.send('3');
    }
  });

  test('heartbeat on a WebSocket: one whose client is silent is closed', () => server.connect().closed);

  test('close by polls: the poll that waits gets a noop, and the id is unknown', async () => {
    const session = await open();
    const waiting = session.get();
    // The poll has to be there before the close, or it finds no session.
    await sleep(100);
    await session.post('1');
    const poll = await waiting;
    assert.deepEqual([poll.status, await poll.text()], [200, '6']);
    assert.equal((await session.get()).status, 400);
  });

  test('close on a WebSocket: the WebSocket closes', async () => {
    const wire = server.connect();
    await wire.next();
    wire.send('1');
    await wire.closed;
  });

  async function upgraded() {
    const session = await open();
    const wire = server.connect({ sid: session.sid });
    await wire.opened;
    wire.send('2probe');
    return { session, wire };
  }

  test('upgrade: probe, noop, and the WebSocket goes on', async () => {
    const { session, wire } = await upgraded();
    assert.equal(await wire.next(), '3probe');
    assert.equal(await (await session.get()).text(), '6');
    wire.send('5');
    await server.echoes?.(wire);
  });

  test('upgrade: polls with its id are refused afterwards', async () => {
    const { session, wire } = await upgraded();
    wire.send('5');
    assert.equal((await session.get()).status, 400);
    assert.equal(await wire.next(), '3probe');
    await server.echoes?.(wire);
  });

  test('upgrade: another WebSocket with its id is closed afterwards', async () => {
    const { session, wire } = await upgraded();
    wire.send('5');
    await server.connect({ sid: session.sid }).closed;
    assert.equal(await wire.next(), '3probe');
    await server.echoes?.(wire);
  });

  return { open };
}

/** A gateway that sends back what it gets. */
function echo(kind, path) {
  let gateway;
  const wires = [];
  before(async () => { gateway = await Gateway.start('127.0.0.1:0', ['--socketio', path, '--socketio-echo', kind, ...OPTIONS]); });
  after(() => { wires.forEach((wire) => wire.close()); return gateway?.stop(); });
  const url = (query) => {
    const members = Object.entries({ EIO: 4, ...query }).filter(([, value]) => value !== null);
    return `${gateway.origin}${path}?${new URLSearchParams(members)}`;
  };
  const connect = (query) => {
    const wire = new Wire(new WebSocket(url({ transport: 'websocket', ...query }).replace('http', 'ws')));
    wires.push(wire);
    return wire;
  };
  return { url, connect };
}

describe('Engine.IO 4', () => {
  const server = echo('engine', '/engine.io/');
  server.echoes = async (wire) => {
    wire.send('4hello');
    assert.equal(await wire.nextMessage(), '4hello');
  };
  const { open } = engineStatements(server);

  for (const [what, body] of [['a packet', '4hello'], ['several packets', '4test1\x1e4test2\x1e4test3'], ['text and binary data', '4hello\x1ebAQIDBA==']]) {
    test(`messages by polls: ${what}`, async () => {
      const session = await open();
      assert.equal(await (await session.post(body)).text(), 'ok');
      assert.equal(await (await session.get()).text(), body);
    });
  }

  test('messages by polls: what is no packet ends the session', async () => {
    const session = await open();
    assert.equal((await session.post('abc')).status, 400);
    assert.equal((await session.get()).status, 400);
  });

  test('messages by polls: of two polls at once the newer one stays, which is a deviation', async () => {
    const session = await open();
    const first = session.get();
    await sleep(100);
    const second = session.get();
    assert.equal(await (await first).text(), '6');
    await session.post('4hello');
    assert.equal(await (await second).text(), '4hello');
  });

  test('messages on a WebSocket: text', async () => {
    const wire = server.connect();
    await wire.next();
    await server.echoes(wire);
  });

  test('messages on a WebSocket: binary data', async () => {
    const wire = server.connect();
    await wire.next();
    wire.send(Uint8Array.from([1, 2, 3, 4]));
    assert.deepEqual([...await wire.nextMessage()], [1, 2, 3, 4]);
  });

  test('messages on a WebSocket: what is no packet closes it', async () => {
    const wire = server.connect();
    await wire.next();
    wire.send('abc');
    await wire.closed;
  });
});

describe('Socket.IO 5', () => {
  const server = echo('socket', '/socket.io/');
  engineStatements(server);

  async function connected() {
    const wire = server.connect();
    await wire.next();
    wire.send('40');
    await wire.nextMessage();
    await wire.nextMessage();
    return wire;
  }

  for (const [what, sent, prefix, auth] of [
    ['/', '40', '', '{}'],
    ['/ with a payload', '40{"token":"123"}', '', '{"token":"123"}'],
    ['another namespace', '40/custom,', '/custom,', '{}'],
    ['another namespace with a payload', '40/custom,{"token":"abc"}', '/custom,', '{"token":"abc"}'],
  ]) {
    test(`connect: to ${what}`, async () => {
      const wire = server.connect();
      await wire.next();
      wire.send(sent);
      const answer = await wire.nextMessage();
      assert.ok(answer.startsWith(`40${prefix}{`), answer);
      assert.deepEqual(Object.keys(JSON.parse(answer.slice(2 + prefix.length))), ['sid']);
      assert.equal(await wire.nextMessage(), `42${prefix}["auth",${auth}]`);
    });
  }

  test('connect: to an unknown namespace is refused', async () => {
    const wire = server.connect();
    await wire.next();
    wire.send('40/random');
    assert.equal(await wire.nextMessage(), '44/random,{"message":"Invalid namespace"}');
  });

  test('connect: what is no packet closes the connection', async () => {
    const wire = server.connect();
    await wire.next();
    wire.send('4abc');
    await wire.closed;
  });

  test('connect: a client that sends none is let go', () => server.connect().closed);

  test('disconnect: from the main namespace, and the connection stays', async () => {
    const wire = await connected();
    wire.send('41');
    assert.equal(await wire.next(), '2');
  });

  test('disconnect: from another namespace, and the main one stays', async () => {
    const wire = await connected();
    wire.send('40/custom');
    await wire.nextMessage();
    await wire.nextMessage();
    wire.send('41/custom');
    wire.send('42["message","message to main namespace"]');
    assert.equal(await wire.nextMessage(), '42["message-back","message to main namespace"]');
  });

  const binary = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}';
  for (const [what, sent, answer, attachments] of [
    ['text', '42["message",1,"2",{"3":[true]}]', '42["message-back",1,"2",{"3":[true]}]', []],
    ['binary data', `452-["message",${binary}]`, `452-["message-back",${binary}]`, [[1, 2, 3], [4, 5, 6]]],
    ['text with an acknowledgement', '42456["message-with-ack",1,"2",{"3":[false]}]', '43456[1,"2",{"3":[false]}]', []],
    ['binary data with an acknowledgement', `452-789["message-with-ack",${binary}]`, `462-789[${binary}]`, [[1, 2, 3], [4, 5, 6]]],
  ]) {
    test(`message: ${what}`, async () => {
      const wire = await connected();
      wire.send(sent);
      attachments.forEach((bytes) => wire.send(Uint8Array.from(bytes)));
      assert.equal(await wire.nextMessage(), answer);
      for (const bytes of attachments) assert.deepEqual([...await wire.nextMessage()], bytes);
    });
  }

  for (const [what, sent] of [['an unknown type', '4abc'], ['a payload that is no event', '42{}'], ['an id that is none', '42abc["message-with-ack",1]']]) {
    test(`message: ${what} closes the connection`, async () => {
      const wire = await connected();
      wire.send(sent);
      await wire.closed;
    });
  }
});
