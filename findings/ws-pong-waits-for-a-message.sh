#!/usr/bin/env bash
# PycURL 7.49.0 with its libcurl 8.23.0 (PyPI), `CONNECT_ONLY=2`, Python 3.
#
# The application waits with select() until the socket is readable, and then calls `ws_recv` until that would block.
# libcurl takes the server's Ping out of the socket and makes the Pong, but keeps it: a second Ping does not
# push it out either, only a message or a frame of the application does. A server that pings a quiet connection and
# gives it up without an answer, as `websockets` 17.4 does by default, drops a healthy listener. `websockets`
# as the client answers at once.
set -euo pipefail
directory=$(mktemp -d) && trap 'rm -rf "$directory"' EXIT && cd "$directory"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pycurl==7.49.0 websockets==17.4
cat > run.py <<'PY'
import asyncio, os, select, threading, pycurl, websockets

async def serve(client):
    done = asyncio.Event()

    async def handler(socket):
        first = await socket.ping()
        await asyncio.sleep(3)
        print(f"{client.__name__}: after 3 s of silence, first Ping answered: {first.done()}")
        await socket.ping()
        await asyncio.sleep(3)
        print(f"{client.__name__}: after a second Ping, first Ping answered: {first.done()}")
        await socket.send("text")
        await asyncio.sleep(3)
        print(f"{client.__name__}: after a message, first Ping answered: {first.done()}")
        done.set()

    async with websockets.serve(handler, "127.0.0.1", 0, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        threading.Thread(target=client, args=(f"ws://127.0.0.1:{port}/",), daemon=True).start()
        await done.wait()

def libcurl(url):
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.CONNECT_ONLY, 2)
    curl.perform()
    socket = curl.getinfo(pycurl.ACTIVESOCKET)
    while True:
        try:
            curl.ws_recv(4096)
        except BlockingIOError:
            select.select([socket], [], [])

def python(url):
    from websockets.sync.client import connect
    with connect(url) as socket:
        for _ in socket:
            pass

for client in (python, libcurl):
    asyncio.run(serve(client))
os._exit(0)
PY
venv/bin/python -u run.py 2>/dev/null | tee seen
diff seen - <<'SEEN'
python: after 3 s of silence, first Ping answered: True
python: after a second Ping, first Ping answered: True
python: after a message, first Ping answered: True
libcurl: after 3 s of silence, first Ping answered: False
libcurl: after a second Ping, first Ping answered: False
libcurl: after a message, first Ping answered: True
SEEN
