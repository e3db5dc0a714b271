#!/usr/bin/env bash
# Guess: a thread that was held without a chat profile is resumed without one.
# True: Chainlit takes the profile of a session from the page, which sends the one that was chosen last, and replaces it
#   only by a profile that the thread's metadata name. A thread from before the profiles, or one whose metadata are empty,
#   goes on with whatever assistant the user has used just before in another thread; the metadata are then stored with it.
#   The same holds for the settings of the chat.
# For a chat like ours: an answer comes from the wrong assistant, with its prompt, its documents and its price, and nothing
#   shows it. Set `session.chat_profile` from the thread, to None too, at the start of `on_chat_resume`.
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
METADATA = {"without": {}, "with": {"chat_profile": "Support"}}
seen = {}


async def nothing(self, *_, **__):
    return None


async def get_user(self, identifier):
    return USER


async def get_thread(self, thread_id):
    thread = {"id": thread_id, "name": "Refund", "createdAt": USER.createdAt, "userId": "1", "userIdentifier": "ann"}
    return {**thread, "metadata": METADATA[thread_id], "steps": [], "elements": []}


async def get_thread_author(self, thread_id):
    return "ann"


methods = dict.fromkeys(BaseDataLayer.__abstractmethods__, nothing)
methods |= {"get_user": get_user, "get_thread": get_thread, "get_thread_author": get_thread_author}
chainlit.data._data_layer = type("Layer", (BaseDataLayer,), methods)()
chainlit.data._data_layer_initialized = True


@cl.password_auth_callback
def login(name, password):
    return cl.User(identifier=name)


@cl.set_chat_profiles
async def profiles():
    return [cl.ChatProfile(name=name, markdown_description="") for name in ("Support", "Contracts")]


@cl.on_chat_resume
async def resume(thread):
    seen[thread["id"]] = cl.user_session.get("chat_profile")


async def main():
    from chainlit.server import app

    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.1)
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        (await http.post("/login", data={"username": "ann", "password": "x"})).raise_for_status()
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in http.cookies.jar)
    for thread in METADATA:
        client = socketio.AsyncClient(reconnection=False)
        # As the page sends it after the profile "Contracts" was used.
        auth = {"sessionId": f"session-{thread}", "clientType": "webapp", "userEnv": "{}"}
        auth |= {"threadId": thread, "chatProfile": "Contracts"}
        await client.connect(url, auth=auth, headers={"Cookie": cookies}, socketio_path="/ws/socket.io")
        await client.emit("connection_successful")
        for _ in range(100):
            if thread in seen:
                break
            await asyncio.sleep(0.1)
        await client.disconnect()
    server.should_exit = True
    await serving


asyncio.run(main())
print("chainlit", version("chainlit"))
print("guess: {'without': None, 'with': 'Support'}")
print("seen: ", seen)
if seen != {"without": "Contracts", "with": "Support"}:
    sys.exit("The behaviour has changed.")
PY
