import assel
import httpx


def run(url, _token, report, _words):
    timeout = httpx.Timeout(5, read=None)
    with httpx.stream("GET", url, headers={"Accept": "text/event-stream"}, timeout=timeout) as response:
        for event in assel.parse(response.iter_raw()):
            report.message(event.data, event.id)
