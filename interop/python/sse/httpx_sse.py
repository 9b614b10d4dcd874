import httpx
from httpx_sse import connect_sse


def run(url, _token, report, words):
    timeout = {"timeout": httpx.Timeout(5, read=None)} if "read-timeout=none" in words else {}
    with httpx.Client(**timeout) as client, connect_sse(client, "GET", url) as source:
        for event in source.iter_sse():
            report.message(event.data, event.id)
