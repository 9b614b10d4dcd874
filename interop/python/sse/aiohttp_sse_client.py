import asyncio

from aiohttp_sse_client.client import EventSource


async def listen(url, report):
    async with EventSource(url) as source:
        report.open()
        async for event in source:
            report.message(event.data, event.last_event_id)


def run(url, _token, report, _words):
    asyncio.run(listen(url, report))
