#!/usr/bin/env bash
# socket.io-client 4.8.4 and socket.io 4.8.4 (npm), Node.js 20, connection state recovery.
#
# The client's connection is closed (`socket.io.engine.close()`, the test that the documentation of the recovery
# names) while it upgrades from polling to WebSocket. The client closes only after the last poll, whose
# events it decodes in the next turn: by then the socket is disconnected, so it buffers them and does not move its
# offset. On reconnection it sends the offset from before them, the server sends them again, and the client emits
# both its buffer and the repeats. The same close some time after the upgrade delivers each event once.
set -euo pipefail
directory=$(mktemp -d) && trap 'rm -rf "$directory"' EXIT && cd "$directory"
npm install --silent --no-audit --no-fund socket.io@4.8.4 socket.io-client@4.8.4
cat > run.mjs <<'JS'
import { createServer } from 'node:http';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Server } from 'socket.io';
import { io } from 'socket.io-client';
for (const [name, moment] of [
  ['after the upgrade', () => sleep(1500)],
  ['during the upgrade', (engine) => once(engine, 'upgrading')],
]) {
  const http = createServer();
  const server = new Server(http, { connectionStateRecovery: {} });
  // The upgrade takes longer than the first event.
  server.engine.use((request, _, next) => setTimeout(next, request.headers.upgrade ? 500 : 0));
  await once(http.listen(0, '127.0.0.1'), 'listening');
  const client = io(`http://127.0.0.1:${http.address().port}`, { reconnectionDelay: 100 });
  const seen = [];
  client.on('number', (n) => seen.push(n));
  await once(client, 'connect');
  server.emit('number', 1);
  await once(client, 'number');
  await moment(client.io.engine);
  client.io.engine.close();
  server.emit('number', 2);
  await once(client, 'connect');
  const { recovered } = client;
  await sleep(1000);
  console.log(`closed ${name}: recovered ${recovered}, events ${seen.join(' ')}`);
  client.close();
  server.close();
}
process.exit(0);
JS
node run.mjs | tee seen
diff seen - <<'SEEN'
closed after the upgrade: recovered true, events 1 2
closed during the upgrade: recovered true, events 1 2 2
SEEN
