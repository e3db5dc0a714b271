#!/usr/bin/env bash
# Guess: a file that a person attaches right after "New chat" is taken like any other.
# True: the page makes the new session's id itself and sends the file for it at once, but opens the session's socket
#   only 200 ms later (a debounce), plus the time of the connection. Until the socket has connected, the server knows no
#   such session and answers 404 "Session not found". The page shows that, and the file has to be attached again.
# For a chat like ours: a failure that people with a slow connection see and developers do not. Let `/project/file` wait
#   a few seconds for a session that it does not know yet.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import re
import socket
import sys
import uuid
from importlib.metadata import version
from pathlib import Path

import chainlit as cl
import httpx
import socketio
import uvicorn


@cl.on_message
async def on_message(_):
    pass


from chainlit.server import app  # noqa: E402


def debounce_of_the_page():
    """The milliseconds for which the page of the package puts off `connect`."""
    assets = Path(cl.__file__).parent / "frontend" / "dist" / "assets"
    (page,) = (text for file in assets.glob("index-*.js") if "connection_successful" in (text := file.read_text()))
    found = re.search(r"(\w+)=\w+\.useCallback\(\w+\.debounce\(\w+,(\d+)\),\[\w+\]\).{0,300}?connect:(\w+)", page)
    return int(found[2]) if found and found[1] == found[3] else None


async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.1)
    session = str(uuid.uuid4())
    files = {"file": ("note.txt", b"a note", "text/plain")}
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        before = await http.post("/project/file", params={"session_id": session}, files=files)
        client = socketio.AsyncClient(reconnection=False)
        auth = {"sessionId": session, "clientType": "webapp", "userEnv": "{}"}
        await client.connect(url, auth=auth, socketio_path="/ws/socket.io")
        after = await http.post("/project/file", params={"session_id": session}, files=files)
        await client.disconnect()
    server.should_exit = True
    await serving
    return (before.status_code, before.json().get("detail")), after.status_code


before, after = asyncio.run(main())
debounce = debounce_of_the_page()
print("chainlit", version("chainlit"))
print("guess: the file is taken, before and after the socket is open")
print("seen:  before the socket is open:", *before)
print("seen:  after:", after)
print("seen:  the page opens the socket of a new session after", debounce, "ms")
if (before, after, debounce) != ((404, "Session not found"), 200, 200):
    sys.exit("The behaviour has changed.")
PY
