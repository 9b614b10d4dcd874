#!/usr/bin/env bash
# websocket-client 1.9.2 (PyPI), Python 3.11.
#
# With `run_forever(reconnect=1)` the server closes each connection with code 4401 and a reason. The
# library connects again each second whatever the code, and calls neither `on_close` nor `on_error`: an
# application cannot tell that its token is refused. Without `reconnect` both are called.
set -euo pipefail
directory=$(mktemp -d) && trap 'rm -rf "$directory"' EXIT && cd "$directory"
python3 -m venv venv && venv/bin/pip --quiet install websocket-client==1.9.2 websockets==17.4
cat > run.py <<'PY'
import threading

import websocket
from websockets.sync.server import serve

closed = threading.Event()
fourth = threading.Event()
attempts = []


def refuse(connection):
    attempts.append(connection)
    connection.close(4401, "bad token")
    if len(attempts) >= 4:
        fourth.set()


server = serve(refuse, "127.0.0.1", 0)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"


def run(**options):
    calls = set()

    def on_close(_, code, reason):
        calls.add(f"on_close {code} {reason}")
        closed.set()

    app = websocket.WebSocketApp(
        url,
        on_open=lambda _: calls.add("on_open"),
        on_error=lambda _, error: calls.add("on_error"),
        on_close=on_close,
    )
    threading.Thread(target=lambda: app.run_forever(**options), daemon=True).start()
    return calls


once = run()
closed.wait()
print("once:", sorted(once))
again = run(reconnect=1)
fourth.wait()
print("reconnect=1, three connections:", sorted(again))
PY
venv/bin/python run.py | tee seen
diff seen - <<'SEEN'
once: ['on_close 4401 bad token', 'on_error', 'on_open']
reconnect=1, three connections: ['on_open']
SEEN
