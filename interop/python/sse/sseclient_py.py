import requests
from sseclient import SSEClient


def run(url, _token, report, _words):
    response = requests.get(url, stream=True, headers={"Accept": "text/event-stream"})
    report.open()
    for event in SSEClient(response).events():
        report.message(event.data, event.id)
