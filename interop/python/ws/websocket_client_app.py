import websocket
from ws.protocols import protocols


def run(url, token, report, _words):
    app = websocket.WebSocketApp(
        url,
        subprotocols=protocols(token),
        on_open=lambda _: report.open(),
        on_message=lambda _, message: report.message(message),
        on_error=lambda _, error: report.error(error),
        on_close=lambda _, code, reason: report.error(Exception(f"close {code} {reason}")),
    )
    app.run_forever()
