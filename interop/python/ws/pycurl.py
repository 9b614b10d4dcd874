"""libcurl by its own functions. It answers a Ping only when a message comes, which each heartbeat is."""

import select

import pycurl
from ws.protocols import protocols


def run(url, token, report, _words):
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.CONNECT_ONLY, 2)
    curl.setopt(pycurl.HTTPHEADER, [f"Sec-WebSocket-Protocol: {', '.join(protocols(token))}"])
    curl.perform()
    report.open()
    socket = curl.getinfo(pycurl.ACTIVESOCKET)
    text = b""
    while True:
        try:
            piece, frame = curl.ws_recv(16384)
        except BlockingIOError:
            select.select([socket], [], [])
            continue
        if frame.flags & pycurl.WS_CLOSE:
            return
        if frame.flags & pycurl.WS_TEXT:
            text += piece
            if not frame.bytesleft and not frame.flags & pycurl.WS_CONT:
                report.message(text.decode())
                text = b""
