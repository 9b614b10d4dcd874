"""Runs one library: `main.py TRANSPORT DRIVER [WORD ...]`. Each line of standard input, `URL TOKEN`, opens it."""

import importlib
import json
import sys
import threading

sys.path.insert(0, __file__.rsplit("/", 1)[0])


class Report:
    """What a driver says: each call is a line of standard output."""

    def _print(self, saw, **members):
        # One write, because drivers have several threads.
        sys.stdout.write(json.dumps({"saw": saw, **members}) + "\n")
        sys.stdout.flush()

    def open(self):
        self._print("open")

    def message(self, data, id=None):
        self._print("message", data=data, id=id)

    def error(self, error):
        self._print("error", text=f"{type(error).__name__}: {error}")

    def end(self, text, code=None):
        """The library ended and will not go on by itself."""
        self._print("end", text=str(text), code=code)


def run(driver, url, token, words):
    report = Report()
    try:
        driver.run(url, token, report, words)
        report.end("returned")
    except Exception as error:
        report.error(error)
        report.end(f"raised {type(error).__name__}: {error}")


transport, name, *words = sys.argv[1:]
driver = importlib.import_module(f"{transport}.{name}")
for line in sys.stdin:
    url, token = line.split()
    threading.Thread(target=run, args=(driver, url, token, words), daemon=True).start()
