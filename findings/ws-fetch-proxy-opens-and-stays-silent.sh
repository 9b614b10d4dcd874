#!/usr/bin/env bash
# Bun 1.4.5 (npm), with ws 8.23.0 as the server behind it.
#
# A proxy that answers every request with `fetch` of the server behind it is a common snippet. A WebSocket handshake
# through it succeeds: the client sees 101 and `open`. No message ever passes, neither way, and when the client
# closes, the connection to the server stays open.
set -euo pipefail
directory=$(mktemp -d) && trap 'rm -rf "$directory"' EXIT && cd "$directory"
npm install --silent --no-audit --no-fund bun@1.4.5 ws@8.23.0
cat > proxy.js <<'JS'
const proxy = Bun.serve({
  port: 0,
  hostname: '127.0.0.1',
  idleTimeout: 255,
  fetch: (request) => fetch(`http://127.0.0.1:${process.argv[2]}${new URL(request.url).pathname}`, request),
});
console.log(proxy.port);
JS
cat > run.mjs <<'JS'
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import WebSocket, { WebSocketServer } from 'ws';
const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
await once(server, 'listening');
server.on('connection', (socket) => {
  socket.send('hello');
  socket.on('message', () => console.log('the server got a message'));
});
const proxy = spawn('node_modules/.bin/bun', ['proxy.js', server.address().port]);
process.on('exit', () => proxy.kill());
const [port] = await once(proxy.stdout, 'data');
const client = new WebSocket(`ws://127.0.0.1:${Number(port)}/`);
client.on('message', () => console.log('the client got a message'));
client.on('error', () => {});
await once(client, 'open');
console.log('the client: open');
client.send('hello');
await new Promise((resolve) => setTimeout(resolve, 5000));
client.terminate();
await new Promise((resolve) => setTimeout(resolve, 10_000));
console.log(`10 s after the client has gone, connections to the server: ${server.clients.size}`);
process.exit(0);
JS
node run.mjs | tee seen
diff seen - <<'SEEN'
the client: open
10 s after the client has gone, connections to the server: 1
SEEN
