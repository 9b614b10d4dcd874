from websockets.sync.client import connect
from ws.protocols import protocols


def run(url, token, report, _words):
    with connect(url, subprotocols=protocols(token)) as socket:
        report.open()
        for message in socket:
            report.message(message)
