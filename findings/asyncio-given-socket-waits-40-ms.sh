#!/usr/bin/env bash
# Guess: a server answers as fast on a socket that it was given as on one that it opened itself.
# True: asyncio sets TCP_NODELAY only for sockets whose protocol number is TCP's. `socket.create_server` and
#   `socket.socket(AF_INET, SOCK_STREAM)` have the number 0, and so have the connections that they accept. uvloop sets
#   it always. uvicorn makes such a socket itself with `--workers`, `--reload` and `--fd`, and takes one in `run(sockets=…)`.
#   A response is written in two pieces, headers and body, so the body waits for the client's delayed acknowledgement of
#   the headers: 40 ms on Linux, for each answer on a connection that is kept.
# For a chat or a gateway: without uvloop, every page, every call and the first token of every stream are 40 ms late; a
#   benchmark with uvloop, or one that lets uvicorn bind the address, does not show it. Set TCP_NODELAY on the listening socket; connections inherit it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check uvicorn==0.54.0 uvloop==0.22.1 httpx==0.28.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import socket
import statistics
import sys
import time

import httpx
import uvicorn
import uvloop


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


def given(nodelay):
    listener = socket.create_server(("127.0.0.1", 0))
    if nodelay:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def milliseconds(listener):
    """The median of an answer on a connection that is kept; the server opens its own socket if `listener` is None."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listener] if listener else None))
    while not server.started:
        await asyncio.sleep(0.01)
    place = (listener or server.servers[0].sockets[0]).getsockname()
    times = []
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(40):
            begun = time.perf_counter()
            await client.get(f"http://127.0.0.1:{place[1]}/")
            times.append((time.perf_counter() - begun) * 1_000)
    server.should_exit = True
    await serving
    return statistics.median(times)


async def measure():
    return {
        "its own socket": await milliseconds(None),
        "socket.create_server": await milliseconds(given(nodelay=False)),
        "the same with TCP_NODELAY": await milliseconds(given(nodelay=True)),
    }


print("uvicorn", uvicorn.__version__, "uvloop", uvloop.__version__)
print("guess: about the same for every socket")
for loop, run in (("asyncio", asyncio.run), ("uvloop", uvloop.run)):
    seen = run(measure())
    for kind, median in seen.items():
        print(f"seen:  {loop}, {kind}: {median:.1f} ms")
    is_late = seen["socket.create_server"] > seen["the same with TCP_NODELAY"] + 20
    if is_late != (loop == "asyncio"):
        sys.exit("The behaviour has changed.")
PY
