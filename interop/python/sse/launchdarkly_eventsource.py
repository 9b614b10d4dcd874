"""`always-continue`: the loop goes on after an error, which it does not by default."""

from ld_eventsource import SSEClient
from ld_eventsource.config import ErrorStrategy


def run(url, _token, report, words):
    options = {}
    if "always-continue" in words:
        options["error_strategy"] = ErrorStrategy.always_continue()
    for event in SSEClient(url, **options).events:
        report.message(event.data, event.last_event_id)
