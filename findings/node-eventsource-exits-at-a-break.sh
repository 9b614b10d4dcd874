#!/usr/bin/env bash
# eventsource 5.1.5 and undici 7.30.2 (npm), Node.js 20.
#
# A process does nothing but listen to an event stream. An open stream keeps it alive. When the server ends
# the stream, both libraries wait for the reconnection time with a timer that does not keep the process
# alive (`unref`): Node.js exits with code 0, as if all work were done, and nothing is logged. eventsource 3.0.7
# reconnects. A service that only listens needs something else that keeps it alive.
set -euo pipefail
directory=$(mktemp -d) && trap 'rm -rf "$directory"' EXIT && cd "$directory"
npm install --silent --no-audit --no-fund three@npm:eventsource@3.0.7 five@npm:eventsource@5.1.5 undici@7.30.2
cat > listen.js <<'JS'
const [, , library, url] = process.argv;
const { EventSource } = require(library);
new EventSource(url).onmessage = ({ data }) => {
  console.log(`message ${data}`);
  if (data === 'two') process.exit(7);
};
JS
cat > run.js <<'JS'
const http = require('http');
const { spawn } = require('child_process');
const messages = ['one', 'two'];
let requests = 0;
const server = http.createServer((request, response) => {
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  response.end(`retry: 200\ndata: ${messages[requests++]}\n\n`);
}).listen(0, '127.0.0.1', async () => {
  for (const library of ['three', 'five', 'undici']) {
    requests = 0;
    console.log(library);
    const url = `http://127.0.0.1:${server.address().port}/`;
    const child = spawn('node', ['--no-warnings', 'listen.js', library, url], { stdio: 'inherit' });
    const code = await new Promise((resolve) => child.on('exit', resolve));
    console.log(`${requests} request(s), exit code ${code}`);
  }
  server.close();
});
JS
node run.js | tee seen
diff seen - <<'SEEN'
three
message one
message two
2 request(s), exit code 7
five
message one
1 request(s), exit code 0
undici
message one
1 request(s), exit code 0
SEEN
