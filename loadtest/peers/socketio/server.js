// socket.io with its in-memory adapter, WebSocket without compression, and an HTTP endpoint to publish.
const { createServer } = require("node:http");
const { Server } = require("socket.io");

const [port, recovery] = [Number(process.argv[2]), process.argv[3] === "recovery"];
const http = createServer((request, response) => {
  if (request.method !== "POST") return response.writeHead(404).end();
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    io.to(request.url.slice("/pub/".length)).emit("m", Buffer.concat(chunks).toString());
    response.writeHead(200, { "Content-Length": 2 }).end("{}");
  });
});
http.keepAliveTimeout = 0;
http.requestTimeout = 0;
const io = new Server(http, {
  serveClient: false,
  transports: ["websocket"],
  perMessageDeflate: false,
  pingInterval: 60000,
  ...(recovery ? { connectionStateRecovery: { maxDisconnectionDuration: 600000, skipMiddlewares: true } } : {}),
});
io.on("connection", (socket) => {
  if (!socket.recovered) socket.join(socket.handshake.auth.topic);
});
http.listen(port, "127.0.0.1", 4096);
