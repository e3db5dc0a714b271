#!/usr/bin/env bash
# Guess: a page that resumes a thread gets that thread, also if its first socket broke and a second one took its place.
# True: if the second socket comes before the first one's `connection_successful` is handled, the session counts as
#   restored, and Chainlit starts a new chat in it. `resume_thread` is never sent, although both sockets name the thread.
# For a chat like ours: Chainlit's own page opens two sockets for `/thread/ID`. On a slow machine, about one page in
#   thirty stayed empty until it was reloaded. A server must set `thread_id_to_resume` and `restored` again itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0
cd "$folder"
export CHAINLIT_AUTH_SECRET=only-for-this-script-0123456789abcdef
"$folder/venv/bin/python" - <<'PY'
import asyncio
import socket
import sys
from importlib.metadata import version

import chainlit as cl
import chainlit.data
import httpx
import socketio
import uvicorn
from chainlit.config import config
from chainlit.data.base import BaseDataLayer
from chainlit.user import PersistedUser

THREAD = {
    "id": "3b1f1c9e-6f0e-4f55-9a46-0d8f5c1c2f11",
    "createdAt": "2026-01-01T00:00:00Z",
    "name": "a thread",
    "userId": "1",
    "userIdentifier": "ann",
    "steps": [],
    "elements": [],
    "metadata": {},
}
USER = PersistedUser(id="1", identifier="ann", createdAt="2026-01-01T00:00:00Z")


async def nothing(self, *_, **__):
    return None


async def user(self, *_, **__):
    return USER


async def thread(self, *_, **__):
    return THREAD


methods = {name: nothing for name in BaseDataLayer.__abstractmethods__}
methods |= {"get_user": user, "create_user": user, "get_thread": thread}
chainlit.data._data_layer = type("Layer", (BaseDataLayer,), methods)()
chainlit.data._data_layer_initialized = True


@cl.password_auth_callback
def log_in(name, _):
    return cl.User(name)


@cl.on_chat_start
async def on_chat_start():
    await cl.context.emitter.emit("new_chat", {})


@cl.on_chat_resume
async def on_chat_resume(_):
    pass


from chainlit.server import app  # noqa: E402


async def page(url, cookies, session_id, ready):
    """Open a socket for the thread; with `ready`, tell the server that the page is ready, and give what it sends."""
    events = []
    client = socketio.AsyncClient(reconnection=False)
    client.on("*", lambda event, *_: events.append(event))
    auth = {"sessionId": session_id, "clientType": "webapp", "userEnv": "{}", "threadId": THREAD["id"]}
    await client.connect(url, auth=auth, headers={"Cookie": cookies}, socketio_path="/ws/socket.io")
    if ready:
        await client.emit("connection_successful")
        await asyncio.sleep(2)
    await client.disconnect()
    return [event for event in events if event in ("new_chat", "resume_thread")]


async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.1)
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        (await http.post("/login", data={"username": "ann", "password": "x"})).raise_for_status()
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in http.cookies.jar)
    once = await page(url, cookies, "session-1", ready=True)
    await page(url, cookies, "session-2", ready=False)
    again = await page(url, cookies, "session-2", ready=True)
    server.should_exit = True
    await serving
    return once, again


once, again = asyncio.run(main())
print("chainlit", version("chainlit"))
print("seen:  one socket:", once)
print("seen:  the first socket broke before the page was ready, then a second one:", again)
print("guess: ['resume_thread'] for both")
if (once, again) != (["resume_thread"], ["new_chat"]):
    sys.exit("The behaviour has changed.")
PY
