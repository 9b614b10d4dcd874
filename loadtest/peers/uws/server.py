"""uWebSockets by way of socketify: topics and publishing are its own native code, Python only connects the two."""

import sys

from socketify import App, AppListenOptions, CompressOptions, OpCode

app = App()


def upgrade(res, req, socket_context):
    key = req.get_header("sec-websocket-key")
    protocol = req.get_header("sec-websocket-protocol")
    extensions = req.get_header("sec-websocket-extensions")
    res.upgrade(key, protocol, extensions, socket_context, req.get_url())


def attach(ws):
    ws.subscribe(ws.get_user_data())


def publish(res, req):
    topic = req.get_url()[len("/pub") :]

    # Bodies here arrive whole; answering within the callback keeps pipelined requests in order.
    def arrived(res, chunk, is_last):
        app.publish(topic, chunk, OpCode.TEXT)
        if is_last:
            res.end("{}")

    res.on_data(arrived)


app.ws(
    "/*",
    {
        "compression": CompressOptions.DISABLED,
        "max_payload_length": 64 * 1024,
        "max_backpressure": 64 * 1024 * 1024,
        "idle_timeout": 960,
        "upgrade": upgrade,
        "open": attach,
    },
)
app.post("/pub/*", publish)
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), lambda _: None)
app.run()
