import asyncio

import aiohttp
from ws.protocols import protocols


async def listen(url, token, report):
    async with aiohttp.ClientSession() as session, session.ws_connect(url, protocols=protocols(token)) as socket:
        report.open()
        async for message in socket:
            if message.type == aiohttp.WSMsgType.TEXT:
                report.message(message.data)
            else:
                report.error(Exception(f"{message.type} {message.data}"))
        report.error(Exception(f"close {socket.close_code}"))


def run(url, token, report, _words):
    asyncio.run(listen(url, token, report))
