#!/usr/bin/env bash
# Guess: a person who edits a question takes back what followed it: the answer, and the steps of the tools that made it.
# True: Chainlit removes the messages after the question. The run of the old answer and the tools in it stay in the data
#   layer, since they are steps and no messages; the page, which drops them, shows that only after it is loaded again. The
#   run of the new answer stands beside them, under the same question.
# For a chat like ours: after two edits, a reloaded thread has three calls of a tool above one answer; a total of a thread's
#   tools, or a history that is built from its steps, counts what nobody sees. Remove a run with the answer that it made, or
#   mark it as replaced.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  chainlit==2.12.0 'sqlalchemy[asyncio]==2.1.9' aiosqlite==0.22.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import asyncio
import socket
import sqlite3
import sys
from importlib.metadata import version

import chainlit as cl
import socketio
import uvicorn
from chainlit.data.sql_alchemy import SQLAlchemyDataLayer

TABLES = (
    "users (id text primary key, identifier text, metadata text, createdAt text)",
    "threads (id text primary key, createdAt text, name text, userId text, userIdentifier text, tags text,"
    " metadata text)",
    "steps (id text primary key, name text, type text, threadId text, parentId text, streaming int, waitForAnswer int,"
    " isError int, metadata text, tags text, input text, output text, createdAt text, command text, start text,"
    ' "end" text, generation text, showInput text, language text, defaultOpen int, autoCollapse int, modes text,'
    " icon text)",
    "elements (id text primary key, threadId text, type text, url text, chainlitKey text, name text, display text,"
    " objectKey text, size text, page int, language text, forId text, mime text, props text)",
    "feedbacks (id text primary key, forId text, threadId text, value int, comment text)",
)
database = sqlite3.connect("chat.db")
for table in TABLES:
    database.execute(f"CREATE TABLE {table}")
database.commit()


@cl.data_layer
def data_layer():
    return SQLAlchemyDataLayer("sqlite+aiosqlite:///chat.db")


@cl.on_message
async def on_message(message):
    async with cl.Step(name=f"look up {message.content}", type="tool"):
        pass
    await cl.Message(f"Answer to {message.content}").send()


from chainlit.server import app  # noqa: E402


def stored():
    # The creation and the update of a step race with each other, so the text of the tool is not looked at.
    query = "SELECT type, CASE type WHEN 'tool' THEN name ELSE output END FROM steps WHERE type != 'run'"
    return [tuple(row) for row in database.execute(query)]


async def until(answer):
    """Wait until the answer is stored, and a moment for what comes after."""
    while not any(text == answer for _, text in stored()):
        await asyncio.sleep(0.1)
    await asyncio.sleep(2)


async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.1)
    client = socketio.AsyncClient(reconnection=False)
    auth = {"sessionId": "session-1", "clientType": "webapp", "userEnv": "{}", "threadId": ""}
    await client.connect(f"http://127.0.0.1:{listener.getsockname()[1]}", auth=auth, socketio_path="/ws/socket.io")
    await client.emit("connection_successful")
    await asyncio.sleep(1)
    message = {"id": "11111111-1111-4111-8111-111111111111", "threadId": "", "name": "user", "type": "user_message",
               "output": "parcels", "createdAt": "2026-01-01T00:00:00.000Z"}
    await client.emit("client_message", {"message": message, "fileReferences": []})
    await until("Answer to parcels")
    await client.emit("edit_message", {"message": {**message, "output": "letters"}})
    await until("Answer to letters")
    await client.disconnect()
    server.should_exit = True
    await serving


asyncio.run(main())
seen = sorted(stored())
print("chainlit", version("chainlit"))
print("guess: the question, the answer and the tool of 'letters' alone")
for one in seen:
    print("seen: ", one)
if seen != [
    ("assistant_message", "Answer to letters"),
    ("tool", "look up letters"),
    ("tool", "look up parcels"),
    ("user_message", "letters"),
]:
    sys.exit("The behaviour has changed.")
PY
