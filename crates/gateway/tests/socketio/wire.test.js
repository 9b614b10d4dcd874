// The wire itself: Engine.IO 4 and Socket.IO 5 byte by byte, and what is no part of them.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { Gateway } from '../browser/gateway.js';
import { drafts, until } from './support.js';

const SEPARATOR = '\x1e';
let gateway;
before(async () => { gateway = await Gateway.start('127.0.0.1:0', ['--commands-per-minute', '0']); });
after(() => gateway?.stop());

const url = (query, slash = '/') => `${gateway.origin}/socket.io${slash}?${new URLSearchParams({ EIO: 4, ...query })}`;

class Poller {
  static async open() {
    const response = await fetch(url({ transport: 'polling' }));
    const text = await response.text();
    assert.equal(response.headers.get('cache-control'), 'no-store');
    assert.equal(text[0], '0');
    return new Poller(JSON.parse(text.slice(1)));
  }

  constructor(handshake) {
    this.handshake = handshake;
    this.query = { transport: 'polling', sid: handshake.sid };
  }

  async get() {
    const response = await fetch(url(this.query));
    this.status = response.status;
    return (await response.text()).split(SEPARATOR);
  }

  post(...packets) {
    return fetch(url(this.query), { method: 'POST', body: packets.join(SEPARATOR) });
  }
}

/** A WebSocket with what it got. */
function socket(query = {}) {
  const ws = new WebSocket(url({ transport: 'websocket', ...query }).replace('http', 'ws'));
  const got = [];
  ws.on('message', (data) => got.push(data.toString()));
  const closed = new Promise((resolve) => ws.on('close', resolve));
  ws.on('error', () => {});
  return { ws, got, closed, opened: new Promise((resolve) => ws.on('open', resolve)) };
}

test('the handshake and the answers to wrong requests are those of Engine.IO', async () => {
  const { handshake } = await Poller.open();
  const { sid, ...rest } = handshake;
  assert.match(sid, /^[\w-]{20,}$/);
  assert.deepEqual(rest, { upgrades: ['websocket'], pingInterval: 25000, pingTimeout: 20000, maxPayload: 1048576 });
  assert.equal((await fetch(url({ transport: 'polling' }, ''))).status, 200, 'without the last slash');
  for (const [query, init, code] of [
    [{ transport: 'carrier' }, {}, 0],
    [{ transport: 'polling', sid: 'nobody' }, {}, 1],
    [{ transport: 'polling' }, { method: 'POST', body: '40' }, 2],
    [{ transport: 'websocket' }, {}, 3],
    [{ transport: 'polling', EIO: 3 }, {}, 5],
    [{ transport: 'polling', EIO: '' }, {}, 5],
  ]) {
    const response = await fetch(url(query), init);
    assert.deepEqual([response.status, (await response.json()).code], [400, code], JSON.stringify(query));
  }
});

test('a CONNECT is answered at once, and a second one is not', async () => {
  const poller = await Poller.open();
  assert.equal(await (await poller.post('40{"user":"alice"}')).text(), 'ok');
  const [connect, cursor] = await poller.get();
  assert.match(connect, /^40\{"sid":"[\w-]+","pid":"[\w-]+"\}$/);
  assert.match(cursor, /^42\["throughline.cursor","\w+\.\d+"\]$/);
  await poller.post('40{"user":"bob"}', '421["ping"]');
  const [reply] = await poller.get();
  assert.match(reply, /^431\[\{"ok":/);
});

test('packets behind a CONNECT are taken in order, and none before it', async () => {
  const poller = await Poller.open();
  await poller.post('3', '40{"user":"alice"}', '421["ping"]', '422["ping"]');
  const packets = [];
  await until('both acknowledgements', async () => {
    packets.push(...(await poller.get()).filter((packet) => packet.startsWith('43')));
    return packets.length >= 2;
  });
  assert.deepEqual(packets.map((packet) => packet.slice(0, 3)), ['431', '432']);
  const early = await Poller.open();
  assert.equal((await early.post('42["ping"]')).status, 400);
  assert.equal((await early.post('40{"user":"alice"}')).status, 400, 'the session has ended');

  const pipelined = socket();
  await pipelined.opened;
  for (const packet of ['3', '40{"user":"alice"}', '427["ping"]']) pipelined.ws.send(packet);
  await until('the acknowledgement', () => pipelined.got.some((packet) => packet.startsWith('437[{"ok"')));
  const wrong = socket();
  await wrong.opened;
  wrong.ws.send('42["ping"]');
  await wrong.closed;
  assert.equal(wrong.got.at(-1), '1');
  pipelined.ws.close();
});

test('no answer to a poll has more than 16 packets', async () => {
  const poller = await Poller.open();
  await poller.post('40{"user":"alice","topics":"room:many"}');
  await poller.get();
  await gateway.publish(drafts('room:many', 1, 100));
  const heard = [];
  await until('all events', async () => {
    const packets = await poller.get();
    assert.ok(packets.length <= 16, `${packets.length} packets`);
    heard.push(...packets.filter((packet) => packet.startsWith('42["m"')));
    return heard.length >= 100;
  });
  assert.deepEqual(heard.map((packet) => JSON.parse(packet.slice(2))[1].n), drafts('', 1, 100).map(({ data }) => data.n));
});

test('a second poll takes the place of the first, and no event is lost between them', async () => {
  const poller = await Poller.open();
  await poller.post('40{"user":"alice","topics":"room:two"}');
  await poller.get();
  const first = poller.get();
  const metrics = async () => (await (await fetch(`${gateway.origin}/metrics`)).text()).match(/throughline_connections\{transport="poll"\} (\d+)/)[1];
  await until('the first waits', async () => await metrics() === '1');
  const second = poller.get();
  assert.deepEqual(await first, ['6']);
  await gateway.publish(drafts('room:two', 1, 1));
  assert.equal((await second)[0], '42["m",{"n":1}]');
});

test('a body or a packet over its limit ends the session', async () => {
  const large = await Poller.open();
  assert.equal((await large.post(`40${'x'.repeat(2 << 20)}`)).status, 413);
  assert.equal((await large.post('3')).status, 400);
  const packet = await Poller.open();
  assert.equal((await packet.post(`42["x","${'x'.repeat(20_000)}"]`)).status, 413);
});

test('a client that sends and never polls is let go', async () => {
  const poller = await Poller.open();
  await poller.post('40{"user":"alice"}');
  await poller.get();
  const packets = Array.from({ length: 100 }, (_, n) => `42${n}["ping"]`);
  assert.equal((await poller.post(...packets)).status, 429);
  assert.equal((await poller.post('3')).status, 400);
});

test('an upgrade: the poll that waits is let go, and the WebSocket goes on', async () => {
  const poller = await Poller.open();
  await poller.post('40{"user":"alice","topics":"room:up"}');
  await poller.get();
  const waiting = poller.get();
  const { ws, got, opened } = socket({ sid: poller.handshake.sid });
  await opened;
  ws.send('2probe');
  await until('the probe is answered', () => got[0] === '3probe');
  assert.deepEqual(await waiting, ['6']);
  ws.send('5');
  await until('the change', async () => (await fetch(`${gateway.origin}/metrics`)).text().then((text) => /socketio_handshakes_total\{result="upgraded"\} 1/.test(text)));
  await gateway.publish(drafts('room:up', 1, 1));
  await until('the event', () => got.includes('42["m",{"n":1}]'));
  await poller.get();
  assert.equal(poller.status, 400);
  ws.close();
});

test('a client that answers no ping is let go, on a WebSocket and on polls', async () => {
  const quick = await Gateway.start('127.0.0.1:0', ['--socketio-ping-interval', '2', '--socketio-ping-timeout', '1']);
  const at = (query) => `${quick.origin}/socket.io/?${new URLSearchParams({ EIO: 4, ...query })}`;
  const ws = new WebSocket(at({ transport: 'websocket' }).replace('http', 'ws'));
  const got = [];
  ws.on('message', (data) => got.push(data.toString()));
  ws.on('open', () => ws.send('40{"user":"alice"}'));
  let isClosed = false;
  ws.on('close', () => { isClosed = true; });
  await until('closed', () => isClosed);
  assert.equal(got.filter((packet) => packet === '2').length, 1, 'it ends after interval and timeout');
  assert.equal(got.at(-1), '1');

  const { sid } = JSON.parse((await (await fetch(at({ transport: 'polling' }))).text()).slice(1));
  const poll = at({ transport: 'polling', sid });
  await fetch(poll, { method: 'POST', body: '40{"user":"alice"}' });
  await until('its session ends', async () => (await fetch(poll)).status === 400);
  await quick.stop();
});

test('what a client leaves is no session: a closed one is unknown', async () => {
  const poller = await Poller.open();
  await poller.post('40{"user":"alice"}');
  await poller.get();
  await poller.post('41');
  await poller.get();
  assert.equal(poller.status, 400);
});

test('operators see Socket.IO clients under names of their own', async () => {
  const own = await Gateway.start();
  const headers = { Authorization: 'Bearer dev' };
  const at = (query) => `${own.origin}/socket.io/?${new URLSearchParams({ EIO: 4, ...query })}`;
  const ws = new WebSocket(at({ transport: 'websocket' }).replace('http', 'ws'));
  const got = [];
  ws.on('message', (data) => got.push(data.toString()));
  ws.on('open', () => ws.send('40{"user":"alice","topics":"room:1"}'));
  await until('connected', () => got.length >= 2);
  const { sid } = JSON.parse((await (await fetch(at({ transport: 'polling' }))).text()).slice(1));
  const poll = at({ transport: 'polling', sid });
  await fetch(poll, { method: 'POST', body: '40{"user":"bob","topics":"room:1"}' });
  await fetch(poll);
  const waiting = fetch(poll);
  await until('both are counted', async () => {
    const { byTransport } = await (await fetch(`${own.origin}/v1/stats`, { headers })).json();
    return byTransport.sio_ws === 1 && byTransport.sio_poll === 1 && byTransport.ws === 0 && byTransport.poll === 0;
  });
  const { results: [{ seq }] } = await own.publish(drafts('room:1', 1, 1));
  await waiting;
  for (const [user, name] of [['alice', 'sio_ws'], ['bob', 'sio_poll']]) {
    await until(`${user} was sent it`, async () => {
      const explained = await (await fetch(`${own.origin}/v1/explain?user=${user}&seq=${seq}`, { headers })).json();
      return explained.verdict === 'delivered' && explained.sessions[0].transport === name && explained.detail.includes(name);
    });
  }
  ws.terminate();
  await own.stop();
});

test('a foreign page whose visitor has a cookie is refused', async () => {
  const headers = { Origin: 'https://elsewhere.example', Cookie: 'throughline_token=x' };
  assert.equal((await fetch(url({ transport: 'polling' }), { headers })).status, 403);
});
