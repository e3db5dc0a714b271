#!/usr/bin/env bash
# Guess: a list of threads that is filtered by feedback=0 has the threads with a thumbs-down.
# True: Chainlit's SQLAlchemyDataLayer tests the filter for truth, and 0 is false: no filter is applied, and every
#   thread of the user comes back. feedback=1 works.
# For a chat like ours: a list of "bad answers" built on this layer shows all answers. Compare a vote with None.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  chainlit==2.12.0 'sqlalchemy[asyncio]==2.1.9' aiosqlite==0.22.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import sys
from importlib.metadata import version

import chainlit as cl
from chainlit.context import init_http_context
from chainlit.data.sql_alchemy import SQLAlchemyDataLayer
from chainlit.types import Feedback, Pagination, ThreadFilter
from sqlalchemy import text

TABLES = (
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


async def main():
    layer = SQLAlchemyDataLayer("sqlite+aiosqlite:///chat.db")
    async with layer.engine.begin() as connection:
        for table in TABLES:
            await connection.execute(text(f"CREATE TABLE {table}"))
    user = await layer.create_user(cl.User(identifier="a.user"))
    init_http_context(user=user)
    for name, vote in (("liked", 1), ("disliked", 0), ("no vote", None)):
        await layer.update_thread(name, name=name, user_id=user.id)
        await layer.create_step({"id": f"step of {name}", "threadId": name, "name": "a", "type": "assistant_message",
                                 "output": "answer", "createdAt": "2026-01-01T00:00:00Z"})
        if vote is not None:
            await layer.upsert_feedback(Feedback(forId=f"step of {name}", threadId=name, value=vote))
    seen = {}
    for vote in (1, 0):
        page = await layer.list_threads(Pagination(first=20), ThreadFilter(userId=user.id, feedback=vote))
        seen[vote] = sorted(thread["name"] for thread in page.data)
    await layer.engine.dispose()
    return seen


seen = asyncio.run(main())
print("chainlit", version("chainlit"))
print("guess: feedback=1 ->", ["liked"], " feedback=0 ->", ["disliked"])
print("seen:  feedback=1 ->", seen[1], " feedback=0 ->", seen[0])
if seen != {1: ["liked"], 0: ["disliked", "liked", "no vote"]}:
    sys.exit("The behaviour has changed.")
PY
