from requests_sse import EventSource


def run(url, _token, report, _words):
    with EventSource(url) as source:
        report.open()
        for event in source:
            report.message(event.data, event.last_event_id)
