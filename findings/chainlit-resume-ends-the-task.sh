#!/usr/bin/env bash
# Guess: `task_start` sent in `on_chat_resume` shows Stop until the application sends `task_end`.
# True: Chainlit wraps the handler, and sends `task_end` as soon as the handler returns.
# For a chat like ours: after a reload during an answer, the text goes on and there is no Stop. The sign of work has to be
#   sent after `resume_thread`, from outside of the handler.
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
from chainlit.data.base import BaseDataLayer
from chainlit.user import PersistedUser

USER = PersistedUser(id="1", identifier="ann", createdAt="2026-01-01T00:00:00Z")
THREAD = {
    **{"id": "3b1f1c9e-6f0e-4f55-9a46-0d8f5c1c2f11", "createdAt": USER.createdAt, "name": "a thread", "userId": "1"},
    **{"userIdentifier": "ann", "steps": [], "elements": [], "metadata": {}},
}


def gives(value):
    async def method(self, *_, **__):
        return value

    return method


methods = {name: gives(None) for name in BaseDataLayer.__abstractmethods__}
methods |= {"get_user": gives(USER), "create_user": gives(USER), "get_thread": gives(THREAD)}
chainlit.data._data_layer = type("Layer", (BaseDataLayer,), methods)()
chainlit.data._data_layer_initialized = True


@cl.password_auth_callback
def log_in(name, _):
    return cl.User(name)


@cl.on_chat_resume
async def on_chat_resume(_):
    await cl.context.emitter.emit("handler_begins", {})
    await cl.context.emitter.task_start()
    await cl.context.emitter.emit("handler_ends", {})


from chainlit.server import app  # noqa: E402


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
    events = []
    client = socketio.AsyncClient(reconnection=False)
    client.on("*", lambda event, *_: events.append(event))
    auth = {"sessionId": "session-1", "clientType": "webapp", "userEnv": "{}", "threadId": THREAD["id"]}
    await client.connect(url, auth=auth, headers={"Cookie": cookies}, socketio_path="/ws/socket.io")
    await client.emit("connection_successful")
    await asyncio.sleep(2)
    await client.disconnect()
    server.should_exit = True
    await serving
    return [event for event in events[events.index("handler_begins") :] if event.startswith(("task", "handler", "resume"))]


seen = asyncio.run(main())
print("chainlit", version("chainlit"))
print("seen: ", seen)
print("guess: no task_end")
if "task_end" not in seen[seen.index("handler_ends") :]:
    sys.exit("The behaviour has changed.")
PY
