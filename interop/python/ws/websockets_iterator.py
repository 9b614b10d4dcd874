"""The iterator that connects again by itself, always to the same URL: `process_exception` is the library's."""

import asyncio

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from ws.protocols import protocols


async def listen(url, token, report):
    async for socket in connect(url, subprotocols=protocols(token)):
        report.open()
        try:
            async for message in socket:
                report.message(message)
        except ConnectionClosed as error:
            report.error(error)


def run(url, token, report, _words):
    asyncio.run(listen(url, token, report))
