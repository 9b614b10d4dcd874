#!/usr/bin/env bash
# websockets 17.4 (PyPI), Python 3.11.
#
# The server sends 40 small messages at once and answers every Ping. The client takes half a second for
# each message. Once 16 messages are queued, the library stops reading from the connection, so that it
# does not see the Pong either: its own keepalive closes a healthy connection with 1011 "keepalive ping
# timeout", and the messages that were not read yet are lost. `ping_timeout=None` avoids it.
set -euo pipefail
directory=$(mktemp -d) && trap 'rm -rf "$directory"' EXIT && cd "$directory"
python3 -m venv venv && venv/bin/pip --quiet install websockets==17.4 aiohttp==3.14.5
cat > run.py <<'PY'
import asyncio

from aiohttp import web
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError


async def serve(request):
    # This library answers a Ping by itself while it reads.
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    for number in range(40):
        await socket.send_str(str(number))
    async for _ in socket:
        pass
    return socket


async def listen(url, **options):
    received = 0
    try:
        async with connect(url, ping_interval=2, **options) as socket:
            async for _ in socket:
                received += 1
                if received == 40:
                    break
                await asyncio.sleep(0.5)
        return f"received {received} of 40"
    except ConnectionClosedError as error:
        return f"received {'fewer than' if received < 40 else ''} 40: {error}"


async def main():
    application = web.Application()
    application.router.add_get("/", serve)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"ws://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/"
    slow, patient = await asyncio.gather(listen(url, ping_timeout=2), listen(url, ping_timeout=None))
    print("ping_timeout=2:", slow)
    print("ping_timeout=None:", patient)
    await runner.cleanup()


asyncio.run(main())
PY
venv/bin/python run.py | tee seen
diff seen - <<'SEEN'
ping_timeout=2: received fewer than 40: sent 1011 (internal error) keepalive ping timeout; no close frame received
ping_timeout=None: received 40 of 40
SEEN
