"""Has the module name of sseclient-py, so `interop/install` puts it into a folder of its own."""

import importlib.util
import os
import sys

folder = os.path.join(sys.prefix, "..", "python-sseclient")
spec = importlib.util.spec_from_file_location("sseclient_alone", os.path.join(folder, "sseclient.py"))
library = importlib.util.module_from_spec(spec)
spec.loader.exec_module(library)


def run(url, _token, report, _words):
    for event in library.SSEClient(url):
        report.message(event.data, event.id)
