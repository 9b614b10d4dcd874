from httpx_ws import connect_ws
from ws.protocols import protocols


def run(url, token, report, _words):
    with connect_ws(url.replace("ws://", "http://"), subprotocols=protocols(token)) as socket:
        report.open()
        while True:
            report.message(socket.receive_text())
