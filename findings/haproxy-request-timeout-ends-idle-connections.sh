#!/usr/bin/env bash
# Guess: haproxy's `timeout http-request`, the remedy against clients that send their headers slowly, concerns a request
#   that has begun. How long an idle connection is kept is the matter of `timeout client` or of `http-keep-alive`.
# True: as long as `timeout http-keep-alive` is not set, `http-request` also ends idle connections, whatever `timeout client`
#   allows. A client that keeps its connections longer than that (aiohttp 15 s, and most application servers a minute or
#   more) sends some requests at the moment in which haproxy closes. Of POSTs that follow about 2 s after one another, with
#   `http-request 2s`, from one in fifteen to one in three raises in aiohttp, which cannot know whether it was taken. With
#   `http-keep-alive 60s` none does. httpx, which looks at the socket before each request, lost none here.
# For a chat like ours: an application that asks a gateway every ten seconds loses calls that must not be repeated blindly,
#   and no log of the server knows of them. Set `timeout http-keep-alive` longer than any client keeps a connection.
# Needs Debian 12, whose packages are unpacked into the temporary folder.
set -euo pipefail
folder=$(mktemp -d)
stop() {
  if [ -f "$folder/pid" ]; then kill "$(cat "$folder/pid")" || true; fi
  rm -rf "$folder"
}
trap stop EXIT
cd "$folder"
apt-get download --quiet=2 'haproxy=2.6.12-1+deb12u*' liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 2> apt.log ||
  { cat apt.log; exit 1; }
for package in ./*.deb; do dpkg -x "$package" .; done
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check aiohttp==3.14.5 httpx==0.28.1
LD_LIBRARY_PATH=$(echo "$folder"/usr/lib/*-linux-gnu) "$folder/venv/bin/python" - <<'PY'
import asyncio
import os
import random
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import aiohttp
import httpx

HAPROXY = Path.cwd() / "usr/sbin/haproxy"
CONNECTIONS, REQUESTS, REQUEST_TIMEOUT, NEAR = 60, 5, 2.0, 0.004
CONFIGURATION = """
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  timeout http-request {request}s
  {keep_alive}
frontend chat
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string ok
"""


async def by_all(post):
    """The number of lost requests: each task sends its next request about when the timeout ends."""
    lost = 0

    async def one(number):
        nonlocal lost
        await asyncio.sleep(number * 0.003)
        for _ in range(REQUESTS):
            try:
                await post()
            except (aiohttp.ClientError, httpx.HTTPError):
                lost += 1
            await asyncio.sleep(REQUEST_TIMEOUT - NEAR / 2 + random.random() * NEAR)

    await asyncio.gather(*(one(number) for number in range(CONNECTIONS)))
    return lost


async def lost_by_aiohttp(url):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60)) as session:

        async def post():
            async with session.post(url, data=b"question") as response:
                await response.read()

        return await by_all(post)


async def lost_by_httpx(url):
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=60)
    async with httpx.AsyncClient(limits=limits) as client:
        return await by_all(lambda: client.post(url, content=b"question"))


def lost(keep_alive):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    Path("cfg").write_text(CONFIGURATION.format(request=int(REQUEST_TIMEOUT), keep_alive=keep_alive, port=port))
    server = subprocess.Popen([HAPROXY, "-db", "-f", "cfg"], stderr=subprocess.DEVNULL)
    Path("pid").write_text(str(server.pid))
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            os.sched_yield()
    url = f"http://127.0.0.1:{port}/"
    numbers = [asyncio.run(by(url)) for by in (lost_by_aiohttp, lost_by_httpx)]
    server.terminate()
    server.wait()
    return numbers


banner = subprocess.run([HAPROXY, "-v"], capture_output=True, text=True).stdout.split(" - ")[0]
print(banner, " aiohttp", version("aiohttp"), " httpx", version("httpx"))
print("guess: no request is lost, with and without http-keep-alive")
without, longer = lost(""), lost("timeout http-keep-alive 60s")
Path("pid").unlink()
for words, numbers in (("no http-keep-alive", without), ("http-keep-alive 60s", longer)):
    print(f"seen:  {words}: of {CONNECTIONS * REQUESTS} requests lost by aiohttp {numbers[0]}, by httpx {numbers[1]}")
if not without[0] or any(longer):
    sys.exit("The behaviour has changed.")
PY
