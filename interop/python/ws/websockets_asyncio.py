import asyncio

from websockets.asyncio.client import connect
from ws.protocols import protocols


async def listen(url, token, report):
    async with connect(url, subprotocols=protocols(token)) as socket:
        report.open()
        async for message in socket:
            report.message(message)
        report.error(Exception(f"close {socket.close_code} {socket.close_reason}"))


def run(url, token, report, _words):
    asyncio.run(listen(url, token, report))
