#!/usr/bin/env bash
# Guess: a page that connects again before its first question gets what `on_chat_start` has sent, or the handler runs
#   again.
# True: neither. The chat counts as started when the handler is, whether or not a page has read what it sent. The second
#   socket of the session gets `task_end`, `clear_ask` and `clear_call_fn`: no greeting, no settings, no commands.
# For a chat like ours: Chainlit's own page may replace its first socket while it loads. On a loaded machine, about one
#   page in sixteen had no settings, no picker and no commands until it was reloaded. A server must send them again
#   itself, and not run the handler again: a second greeting would be stored beside the first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import socket
import sys
from importlib.metadata import version

import chainlit as cl
import socketio
import uvicorn

GREETING = {"new_message", "chat_settings", "set_commands"}


@cl.on_chat_start
async def on_chat_start():
    await cl.ChatSettings([cl.input_widget.Switch(id="formal", label="Formal")]).send()
    await cl.context.emitter.set_commands([{"id": "search", "description": "Search", "icon": "search"}])
    await cl.Message("Where to?").send()


from chainlit.server import app  # noqa: E402


async def page(url, session_id):
    """Open a socket of this session as Chainlit's page does; gives the events that it gets, and closes it."""
    events = []
    client = socketio.AsyncClient(reconnection=False)
    client.on("*", lambda event, *_: events.append(event))
    auth = {"sessionId": session_id, "clientType": "webapp", "userEnv": "{}", "threadId": ""}
    await client.connect(url, auth=auth, socketio_path="/ws/socket.io")
    await client.emit("connection_successful")
    await asyncio.sleep(2)
    await client.disconnect()
    return events


async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.1)
    seen = [await page(f"http://127.0.0.1:{listener.getsockname()[1]}", "session-1") for _ in range(2)]
    server.should_exit = True
    await serving
    return seen


first, second = asyncio.run(main())
print("chainlit", version("chainlit"))
print("guess: both sockets get", sorted(GREETING))
print("seen:  first socket: ", first)
print("seen:  second socket:", second)
if not GREETING <= set(first) or GREETING & set(second):
    sys.exit("The behaviour has changed.")
PY
