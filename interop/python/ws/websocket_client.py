import websocket
from ws.protocols import protocols


def run(url, token, report, _words):
    socket = websocket.create_connection(url, subprotocols=protocols(token))
    report.open()
    while True:
        message = socket.recv()
        # An empty text is how this call tells a close frame.
        if message == "":
            return
        report.message(message)
