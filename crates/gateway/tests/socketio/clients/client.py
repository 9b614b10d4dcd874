"""A page in Python: hears 200 events that a backend publishes at once, and asks for an acknowledgement."""

import json
import sys
import time
import urllib.request

import socketio

origin, transports = sys.argv[1:]
topic = "room:python-" + transports
client = socketio.Client()
heard = []
client.on("m", lambda data: heard.append(data["n"]))
client.connect(
    origin,
    auth={"user": "alice", "topics": [topic]},
    transports=None if transports == "both" else [transports],
    wait_timeout=60,
)
for start in (0, 100):
    drafts = [{"topic": topic, "type": "m", "data": {"n": start + n}} for n in range(100)]
    headers = {"Authorization": "Bearer dev", "Content-Type": "application/json"}
    request = urllib.request.Request(origin + "/v1/publish", json.dumps(drafts).encode(), headers)
    urllib.request.urlopen(request).read()
deadline = time.time() + 120
while len(heard) < 200 and time.time() < deadline:
    time.sleep(0.01)
ack = client.call("ping", {}, timeout=60)
print(json.dumps({"heard": heard, "ack": ack, "transport": client.transport()}))
client.disconnect()
