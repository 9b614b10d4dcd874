#!/usr/bin/env bash
# eventsource 2.0.2 (npm), Node.js 20.
#
# A server sends event 1 whole, then `id: 2` and half of a data line, and the connection breaks. The
# event stream standard says that an incomplete event is discarded, and the last event id with it. The
# library discards the data but keeps the id: it reconnects with `Last-Event-ID: 2` and never sees
# event 2. Version 5.1.5 asks again after 1. A server that writes `data:` before `id:` avoids the loss.
set -euo pipefail
directory=$(mktemp -d) && trap 'rm -rf "$directory"' EXIT && cd "$directory"
npm install --silent --no-audit --no-fund old@npm:eventsource@2.0.2 new@npm:eventsource@5.1.5
cat > run.js <<'JS'
const http = require('http');
const library = process.argv[2];
let requests = 0;
const server = http.createServer((request, response) => {
  requests += 1;
  console.log(`request ${requests}, Last-Event-ID: ${request.headers['last-event-id'] ?? 'none'}`);
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  if (requests === 1) {
    response.write('retry: 100\nid: 1\ndata: one\n\n');
    response.write('id: 2\ndata: tw', () => setTimeout(() => response.socket.destroy(), 100));
  } else {
    response.write('id: 3\ndata: three\n\n');
  }
}).listen(0, '127.0.0.1', () => {
  const module = require(library);
  const source = new (module.EventSource ?? module)(`http://127.0.0.1:${server.address().port}/`);
  source.onmessage = ({ data }) => {
    console.log(`message ${data}`);
    if (data === 'three') process.exit(0);
  };
});
JS
{ node run.js old; echo --; node run.js new; } | tee seen
diff seen - <<'SEEN'
request 1, Last-Event-ID: none
message one
request 2, Last-Event-ID: 2
message three
--
request 1, Last-Event-ID: none
message one
request 2, Last-Event-ID: 1
message three
SEEN
