# Posts a body and reads the answer, as its standard library does. Arguments: URL, bytes, times, status, then headers.
import http.client
import sys
from urllib.parse import urlsplit

url, size, times, status = urlsplit(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
headers = dict(header.split(": ", 1) for header in sys.argv[5:])
body = b"x" * size
heard, error = 0, ""
for _ in range(times):
    connection = http.client.HTTPConnection(url.netloc, timeout=60)
    try:
        connection.request("POST", url.path, body, headers)
        response = connection.getresponse()
        text = response.read().decode()
        if response.status == status and f'"status":{status}' in text:
            heard += 1
        else:
            error = f"{response.status} {text}"
    except OSError as failure:
        error = repr(failure)
    finally:
        connection.close()
print(f"heard {heard} of {times} {error}")
