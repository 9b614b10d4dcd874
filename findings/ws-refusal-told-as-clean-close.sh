#!/usr/bin/env bash
# partysocket 1.3.0 over ws 8.23.0 (npm), Node.js 20.
#
# The server refuses the handshake with 503. The browser API reports such a failure as `error` and then
# `close` with code 1006 and `wasClean` false, and so does ws alone. partysocket reports `close` with code 1000
# and `wasClean` true, and before the `error`: an application that stops at a clean close stops here.
set -euo pipefail
directory=$(mktemp -d) && trap 'rm -rf "$directory"' EXIT && cd "$directory"
npm install --silent --no-audit --no-fund partysocket@1.3.0 ws@8.23.0
cat > run.mjs <<'JS'
import http from 'node:http';
import { WebSocket } from 'partysocket';
import WS from 'ws';
const server = http.createServer();
server.on('upgrade', (_, socket) =>
  socket.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'));
server.listen(0, '127.0.0.1', () => {
  const url = `ws://127.0.0.1:${server.address().port}/`;
  const alone = new WS(url);
  alone.onerror = () => console.log('ws: error');
  alone.onclose = ({ code, wasClean }) => {
    console.log(`ws: close ${code} clean ${wasClean}`);
    const wrapped = new WebSocket(url, [], { WebSocket: WS, maxRetries: 0 });
    wrapped.addEventListener('close', ({ code, wasClean }) => console.log(`partysocket: close ${code} clean ${wasClean}`));
    wrapped.addEventListener('error', () => {
      console.log('partysocket: error');
      process.exit(0);
    });
  };
});
JS
node run.mjs | tee seen
diff seen - <<'SEEN'
ws: error
ws: close 1006 clean false
partysocket: close 1000 clean true
partysocket: error
SEEN
