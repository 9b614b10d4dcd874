#!/usr/bin/env bash
# aiohttp-sse-client 0.2.1 (PyPI), aiohttp 3.14.5, Python 3.11.
#
# A proxy ends a stream in the middle of an event, with a proper end of the response body. The event stream
# standard says that the incomplete event is discarded. The library reconnects by itself, and prepends the
# data of the incomplete event to the first event of the next response: the application gets two half
# messages as one, and an event that the server never sent.
set -euo pipefail
directory=$(mktemp -d) && trap 'rm -rf "$directory"' EXIT && cd "$directory"
python3 -m venv venv && venv/bin/pip --quiet install aiohttp-sse-client==0.2.1 aiohttp==3.14.5
cat > run.py <<'PY'
import asyncio

from aiohttp import web
from aiohttp_sse_client.client import EventSource

bodies = [
    "retry: 100\nid: 1\ndata: one\n\nid: 2\ndata: two, first half\n",
    "id: 2\ndata: two, whole\n\n",
]


async def serve(request):
    print("request, Last-Event-ID:", request.headers.get("Last-Event-ID", "none"))
    return web.Response(text=bodies.pop(0), content_type="text/event-stream")


async def main():
    application = web.Application()
    application.router.add_get("/", serve)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with EventSource(f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/") as source:
        async for event in source:
            print("message", repr(event.data))
            if "whole" in event.data:
                break
    await runner.cleanup()


asyncio.run(main())
PY
venv/bin/python run.py | tee seen
diff seen - <<'SEEN'
request, Last-Event-ID: none
message 'one'
request, Last-Event-ID: 1
message 'two, first half\ntwo, whole'
SEEN
