// An application's own names: the pages of a room for songs, unchanged.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { io } from 'socket.io-client';
import { Gateway } from '../browser/gateway.js';
import { token, until } from './support.js';

const SECRET = 'a-secret-of-thirty-two-bytes-or-more';
const DIALECT = fileURLToPath(new URL('../../../../fixtures/socketio/song-rooms.json', import.meta.url));
let gateway;
before(async () => {
  gateway = await Gateway.run([
    'serve', '--listen', '127.0.0.1:0', '--jwt-secret', SECRET, '--publish-key', 'dev',
    '--socketio', '/socket.io/', '--socketio-dialect', DIALECT,
  ]);
});
after(() => gateway?.stop());

const open = [];
after(() => open.forEach((socket) => socket.close()));

/** A page of this user, which sends its token in an event. */
function page(transports) {
  const socket = io(gateway.origin, { forceNew: true, transports, reconnectionDelay: 50 });
  open.push(socket);
  const got = [];
  socket.onAny((name, data) => { if (!name.startsWith('throughline.')) got.push([name, data]); });
  const says = (name) => until(name, () => got.some(([said]) => said === name));
  const of = (name) => got.filter(([said]) => said === name).map(([, data]) => data);
  return { socket, got, says, of };
}

for (const [name, transports] of Object.entries({ websocket: ['websocket'], polls: ['polling'], both: ['polling', 'websocket'] })) {
  test(`two people in a room, over ${name}`, async () => {
    const room = `song-${name}`;
    const ann = page(transports);
    await ann.says('connected');
    ann.socket.emit('authenticate', { token: 'wrong' });
    await ann.says('auth_error');
    ann.socket.emit('authenticate', { token: token(SECRET, 'ann') });
    await ann.says('authenticated');
    assert.deepEqual(ann.of('authenticated'), [{ user_id: 'ann' }]);
    ann.socket.emit('join_room', { room_id: room });
    await ann.says('room_joined');
    assert.deepEqual(ann.of('room_joined'), [{ room_id: room, participant_count: 1 }]);

    const bob = page(transports);
    await bob.says('connected');
    bob.socket.emit('authenticate', { token: token(SECRET, 'bob') });
    await bob.says('authenticated');
    bob.socket.emit('join_room', { room_id: room });
    await bob.says('room_joined');
    assert.equal(bob.of('room_joined')[0].participant_count, 2);
    await until('ann learns of bob', () => ann.of('user_joined').some(({ user_id }) => user_id === 'bob'));
    assert.deepEqual(ann.of('user_joined').at(-1), { user_id: 'bob', room_id: room, participant_count: 2 });

    bob.socket.emit('broadcast_message', { room_id: room, message: 'hello', user_id: 'mallory' });
    await ann.says('room_message');
    const { timestamp, ...message } = ann.of('room_message')[0];
    assert.deepEqual(message, { user_id: 'bob', message: 'hello' });
    assert.ok(Math.abs(Date.now() - timestamp) < 600_000);
    ann.socket.emit('collaboration_operation', { room_id: room, operation: { insert: 'x', at: 0 } });
    await bob.says('collaboration_update');
    assert.deepEqual(bob.of('collaboration_update')[0].operation, { insert: 'x', at: 0 });
    // An ephemeral event is not kept: a client that polls gets it only while a poll waits.
    await until('cursor_moved', () => {
      ann.socket.emit('cursor_update', { room_id: room, position: 7 });
      return bob.of('cursor_moved').length > 0;
    }, 250);
    assert.deepEqual([bob.of('room_message'), ann.of('collaboration_update'), ann.of('cursor_moved')], [[], [], []], 'no echo');

    ann.socket.emit('broadcast_message', { message: 'to nowhere' });
    await ann.says('error');
    ann.socket.emit('ping');
    await ann.says('pong');
    bob.socket.emit('leave_room', { room_id: room });
    await ann.says('user_left');
    assert.deepEqual(ann.of('user_left')[0], { user_id: 'bob', room_id: room, participant_count: 1 });
  });
}
