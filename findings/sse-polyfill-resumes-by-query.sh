#!/usr/bin/env bash
# event-source-polyfill 1.0.31 (npm), Node.js 20.
#
# On reconnection the polyfill does not send the header `Last-Event-ID` of the event stream standard. It
# appends `lastEventId=` to the query instead, so that a cross-origin request needs no preflight. A
# server that reads only the header starts it at the newest event, and what lies between is lost.
set -euo pipefail
directory=$(mktemp -d) && trap 'rm -rf "$directory"' EXIT && cd "$directory"
npm install --silent --no-audit --no-fund event-source-polyfill@1.0.31 xmlhttprequest-ssl@4.0.0
cat > run.js <<'JS'
const http = require('http');
let requests = 0;
const server = http.createServer((request, response) => {
  requests += 1;
  console.log(`request ${requests}: ${request.url}, Last-Event-ID: ${request.headers['last-event-id'] ?? 'none'}`);
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  response.end('retry: 100\nid: 7\ndata: seven\n\n');
  if (requests === 2) setTimeout(() => process.exit(0), 100);
}).listen(0, '127.0.0.1', () => {
  const { EventSourcePolyfill } = require('event-source-polyfill');
  new EventSourcePolyfill(`http://127.0.0.1:${server.address().port}/`);
});
JS
node run.js | tee seen
diff seen - <<'SEEN'
request 1: /, Last-Event-ID: none
request 2: /?lastEventId=7, Last-Event-ID: none
SEEN
