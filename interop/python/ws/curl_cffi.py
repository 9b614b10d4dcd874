from curl_cffi import Session
from ws.protocols import protocols


def run(url, token, report, _words):
    with Session() as session:
        socket = session.ws_connect(url, headers={"Sec-WebSocket-Protocol": ", ".join(protocols(token))})
        report.open()
        while True:
            report.message(socket.recv_str())
