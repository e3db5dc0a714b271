#!/usr/bin/env bash
# Guess: the `disconnect` handler of a socket runs in the context of that socket's connection, as all its other handlers
#   do, so that a context variable which a middleware has set (the user, a tenant, a span) is right in it.
# True: not if a client that polls falls silent. It is found by a task which python-engineio starts with the first
#   connection since the server's start, and the handler runs in a copy of that task's context: the variable has the
#   value of the first client, whoever that was. A silent websocket is found in its own context, so that a test with one
#   shows nothing.
# For a chat like ours: a page behind a proxy without websockets that sleeps, or a first socket that a page left before it
#   had a websocket. Chainlit stores the settings of the chat in its handler, in the name of whoever came first since the
#   start: it is refused, or worse, allowed. Set the user in the handler, from the session.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  python-socketio==5.18.1 python-engineio==4.15.1 uvicorn==0.54.0 httpx==0.28.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import json
import socket
import sys
from contextvars import ContextVar
from importlib.metadata import version

import httpx
import socketio
import uvicorn

user = ContextVar("user", default="nobody")
server = socketio.AsyncServer(async_mode="asgi", ping_interval=1, ping_timeout=1)
inner = socketio.ASGIApp(server)
names, seen = {}, []


async def app(scope, receive, send):
    user.set(scope["query_string"].decode().rpartition("user=")[2])
    await inner(scope, receive, send)


@server.event
async def connected(sid):
    names[sid] = user.get()


@server.event
async def disconnect(sid, reason):
    seen.append((names[sid], reason, user.get()))


async def client(port, name, ending):
    """Connect as this user without a websocket; close the connection, or fall silent."""
    path = f"/socket.io/?EIO=4&transport=polling&user={name}"
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        opened = json.loads((await http.get(path)).text[1:])
        session = f"/socket.io/?EIO=4&transport=polling&sid={opened['sid']}&user={name}"
        await http.post(session, content="40")
        await http.get(session)
        await http.post(session, content='42["connected"]')
        if ending == "closes":
            await http.post(session, content="41")
        else:
            await asyncio.sleep(6)


async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="critical"))
    serving = asyncio.create_task(running.serve(sockets=[listener]))
    while not running.started:
        await asyncio.sleep(0.05)
    port = listener.getsockname()[1]
    await client(port, "ada", "closes")
    await client(port, "bob", "closes")
    await client(port, "cleo", "falls silent")
    await asyncio.sleep(1)
    running.should_exit = True
    await serving


asyncio.run(main())
print("python-socketio", version("python-socketio"), "python-engineio", version("python-engineio"))
for name, reason, found in seen:
    print(f"the socket of {name} ends ({reason}): the handler runs as {found}")
if [(name, found) for name, _, found in seen] != [("ada", "ada"), ("bob", "bob"), ("cleo", "ada")]:
    sys.exit("The behaviour has changed.")
PY
