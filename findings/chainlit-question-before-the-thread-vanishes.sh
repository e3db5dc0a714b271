#!/usr/bin/env bash
# Guess: a question that a page sends while its thread is being resumed is shown, and answered below the thread.
# True: it is answered, and nobody sees it. Chainlit takes the question at once, although the thread is on its way: the
#   page then gets `resume_thread`, with the thread as it was read before the question, and replaces all that it shows.
#   The question is in no event (the page had added it itself), and the answer belongs to it: both are missing until the
#   page is loaded again. The same happens at each reconnection, because the thread is sent anew.
# For a chat like ours: a page whose thread names a profile connects twice, and a user who types at once loses the
#   question from sight. Let a question wait for the thread, and send it to the page after it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0
cd "$folder"
export CHAINLIT_AUTH_SECRET=a-secret-of-more-than-thirty-two-bytes
"$folder/venv/bin/python" - <<'PY'
import asyncio
import socket
import sys
import uuid
from importlib.metadata import version
from unittest.mock import AsyncMock

import chainlit as cl
import chainlit.data
import httpx
import socketio
import uvicorn
from chainlit.data.base import BaseDataLayer

THREAD = str(uuid.uuid4())


def question(text):
    """A step as Chainlit's page sends it."""
    step = {"id": str(uuid.uuid4()), "threadId": THREAD, "type": "user_message", "name": "ada", "output": text}
    return {**step, "createdAt": "2026-01-01T00:00:00Z"}


FIRST, SECOND = question("first"), question("second")


class Layer(AsyncMock):
    """A data layer with one thread of one question; it stores nothing."""

    def __init__(self):
        super().__init__(spec=BaseDataLayer)
        self.get_thread.side_effect = lambda thread_id: {
            "id": THREAD, "userIdentifier": "ada", "steps": [dict(FIRST)], "elements": [], "metadata": {},
        }
        self.get_thread_author.return_value = "ada"
        self.get_user.return_value = cl.PersistedUser(id="1", identifier="ada", createdAt="2026-01-01T00:00:00Z")
        self.create_user.return_value = self.get_user.return_value

    def _get_child_mock(self, **kw):
        return AsyncMock(**kw)


layer = Layer()
cl.data_layer(lambda: layer)


@cl.password_auth_callback
async def log_in(name, _password):
    return cl.User(identifier=name)


@cl.on_chat_resume
async def resume(_thread):
    await asyncio.sleep(1)


@cl.on_message
async def answer(message):
    await cl.Message(f"You said: {message.content}").send()


from chainlit.server import app  # noqa: E402


async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.1)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    shown, order = {}, []

    def on_event(event, *data):
        order.append(event)
        if event == "resume_thread":
            shown.clear()
            shown.update({step["id"]: step for step in data[0]["steps"]})
        elif event in ("new_message", "update_message"):
            shown[data[0]["id"]] = data[0]

    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        (await http.post("/login", data={"username": "ada", "password": "x"})).raise_for_status()
        cookies = "; ".join(f"{one.name}={one.value}" for one in http.cookies.jar)
    page = socketio.AsyncClient(reconnection=False)
    page.on("*", on_event)
    auth = {"sessionId": "page", "clientType": "webapp", "userEnv": "{}", "threadId": THREAD}
    await page.connect(url, auth=auth, headers={"Cookie": cookies}, socketio_path="/ws/socket.io")
    await page.emit("connection_successful")
    # The page shows its question itself.
    shown[SECOND["id"]] = SECOND
    await page.emit("client_message", {"message": SECOND, "fileReferences": []})
    await asyncio.sleep(3)
    await page.disconnect()
    server.should_exit = True
    await serving
    return [step["output"] for step in shown.values()], order


shown, order = asyncio.run(main())
print("chainlit", version("chainlit"))
print("events:", order)
print("guess: the page shows", ["first", "second", "You said: second"])
print("seen:  the page shows", shown)
if shown != ["first"] or "new_message" not in order:
    sys.exit("The behaviour has changed.")
PY
