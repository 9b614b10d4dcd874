#!/usr/bin/env bash
# @fastify/http-proxy 11.6.3 with fastify 5.12.8, over ws 8.23.0 (npm), Node.js 20.
#
# A client offers two subprotocols in one header. The proxy offers the server only the first, without an error: a
# token that travels as second subprotocol, which is how browsers send one, never arrives.
set -euo pipefail
directory=$(mktemp -d) && trap 'rm -rf "$directory"' EXIT && cd "$directory"
npm install --silent --no-audit --no-fund @fastify/http-proxy@11.6.3 fastify@5.12.8 ws@8.23.0
cat > run.mjs <<'JS'
import { once } from 'node:events';
import proxy from '@fastify/http-proxy';
import fastify from 'fastify';
import WebSocket, { WebSocketServer } from 'ws';
const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
await once(server, 'listening');
server.on('connection', (_, request) => console.log('the server is offered:', request.headers['sec-websocket-protocol']));
const front = fastify();
front.register(proxy, { upstream: `http://127.0.0.1:${server.address().port}`, websocket: true });
await front.listen({ port: 0, host: '127.0.0.1' });
for (const port of [server.address().port, front.server.address().port]) {
  const client = new WebSocket(`ws://127.0.0.1:${port}/`, ['app.v1', 'bearer.token']);
  await once(client, 'open');
  await new Promise((resolve) => setTimeout(resolve, 500));
}
process.exit(0);
JS
node run.mjs | tee seen
diff seen - <<'SEEN'
the server is offered: app.v1,bearer.token
the server is offered: app.v1
SEEN
