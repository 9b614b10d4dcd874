#!/usr/bin/env bash
# httpx-ws 0.9.0 (PyPI), Python 3.11.
#
# `max_message_size_bytes` is 65,536 by default and is documented as the maximum size of a message. A
# message of 300,000 bytes in one frame arrives whole: the value is the size of one read from the network.
set -euo pipefail
directory=$(mktemp -d) && trap 'rm -rf "$directory"' EXIT && cd "$directory"
python3 -m venv venv && venv/bin/pip --quiet install httpx-ws==0.9.0 websockets==17.4
cat > run.py <<'PY'
import inspect
import threading

from httpx_ws import connect_ws
from websockets.sync.server import serve


def send_a_large_message(connection):
    connection.send("x" * 300_000)
    connection.recv()


server = serve(send_a_large_message, "127.0.0.1", 0)
threading.Thread(target=server.serve_forever, daemon=True).start()
with connect_ws(f"http://127.0.0.1:{server.socket.getsockname()[1]}/") as connection:
    limit = inspect.signature(connect_ws).parameters["max_message_size_bytes"].default
    print(f"limit {limit}, received {len(connection.receive_text())}")
    connection.send_text("done")
server.shutdown()
PY
venv/bin/python run.py | tee seen
diff seen - <<'SEEN'
limit 65536, received 300000
SEEN
