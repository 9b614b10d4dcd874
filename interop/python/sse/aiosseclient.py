import asyncio

from aiosseclient import aiosseclient


async def listen(url, report):
    async for event in aiosseclient(url):
        report.message(event.data, event.id)


def run(url, _token, report, _words):
    asyncio.run(listen(url, report))
