#!/usr/bin/env bash
# http-proxy 1.18.1 and h3 1.15.11 `proxyRequest`, which Nuxt's `routeRules` use (npm), Node.js 20.
#
# A client reads a response that does not end, such as SSE, and closes its connection after the first message.
# http-proxy-middleware 3.0.11, which wraps http-proxy, closes the connection to the server as well. http-proxy
# itself and h3 leave it open for as long as the server sends: with SSE, every page load stays a connection.
set -euo pipefail
directory=$(mktemp -d) && trap 'rm -rf "$directory"' EXIT && cd "$directory"
npm install --silent --no-audit --no-fund http-proxy@1.18.1 http-proxy-middleware@3.0.11 h3@1.15.11
cat > run.mjs <<'JS'
import http from 'node:http';
import { once } from 'node:events';
import { createApp, eventHandler, proxyRequest, toNodeListener } from 'h3';
import httpProxy from 'http-proxy';
import { createProxyMiddleware } from 'http-proxy-middleware';
let open = 0;
const server = http.createServer((_, response) => {
  open += 1;
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const timer = setInterval(() => response.write('data: x\n\n'), 100);
  response.on('close', () => {
    open -= 1;
    clearInterval(timer);
  });
});
await once(server.listen(0, '127.0.0.1'), 'listening');
const target = `http://127.0.0.1:${server.address().port}`;
const plain = httpProxy.createProxyServer({ target });
plain.on('error', () => {});
const h3 = createApp().use(eventHandler((event) => proxyRequest(event, target)));
for (const [name, listener] of [
  ['http-proxy-middleware', createProxyMiddleware({ target })],
  ['http-proxy', (request, response) => plain.web(request, response)],
  ['h3', toNodeListener(h3)],
]) {
  const proxy = http.createServer(listener);
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  const request = http.get({ host: '127.0.0.1', port: proxy.address().port, agent: false });
  const [response] = await once(request, 'response');
  await once(response, 'data');
  request.on('error', () => {});
  request.destroy();
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  console.log(`${name}: 10 s after the client has gone, connections to the server: ${open}`);
  open = 0;
}
process.exit(0);
JS
node run.mjs | tee seen
diff seen - <<'SEEN'
http-proxy-middleware: 10 s after the client has gone, connections to the server: 0
http-proxy: 10 s after the client has gone, connections to the server: 1
h3: 10 s after the client has gone, connections to the server: 1
SEEN
