#!/usr/bin/env bash
# Guess: a server of HTTP/1.1 ignores an offer to upgrade to HTTP/2 (`Upgrade: h2c`) and answers the request as any other
#   (RFC 9110, section 7.8). Which of its two parsers uvicorn uses makes a difference in speed alone.
# True: with httptools, the application gets the request with an empty body. With h11, it gets the body. uvicorn takes
#   httptools as soon as it is installed, as `uvicorn[standard]` does. The answer is no error of the protocol, and the
#   log has a warning of an "unsupported upgrade request".
# For a chat like ours: Java's HttpClient offers the upgrade with its first request to each plain HTTP address unless it is
#   told HTTP/1.1, so applications in Java get errors of a missing body, and only without TLS. Say `http="h11"`, or put
#   a proxy in front that does not pass `Upgrade` on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    uvicorn==0.54.0 httptools==0.9.0 h11==0.16.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import socket
import sys
import threading
import time
from importlib.metadata import version

import uvicorn

PLAIN = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
OFFERS = PLAIN.replace(
    b"Content-Length",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\nContent-Length",
)


async def app(scope, receive, send):
    """Answer with the number of bytes of the body."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    said = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": said})


def asked(port, request):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while not answer.partition(b"\r\n\r\n")[2]:
            answer += connection.recv(1000)
    return int(answer[-1:])


seen = {}
for parser in ("h11", "httptools"):
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=parser, lifespan="off", log_level="error"))
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    serving.start()
    while not server.started:
        time.sleep(0.01)
    port = listener.getsockname()[1]
    seen[parser] = asked(port, PLAIN), asked(port, OFFERS)
    server.should_exit = True
    serving.join(10)

print("uvicorn", version("uvicorn"), "httptools", version("httptools"), "h11", version("h11"))
print("guess: 3 bytes of the body, with each parser, with and without the offer of HTTP/2")
for parser, (plain, offered) in seen.items():
    print(f"seen:  {parser}: {plain} bytes without the offer, {offered} with it")
if seen != {"h11": (3, 3), "httptools": (3, 0)}:
    sys.exit("The behaviour has changed.")
PY
