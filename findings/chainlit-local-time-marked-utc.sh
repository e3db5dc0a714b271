#!/usr/bin/env bash
# Guess: a time that ends in Z is UTC, and a thread and its first step have the same time.
# True: Chainlit's SQLAlchemyDataLayer writes the server's local time with a Z behind it for users and threads, while
#   steps have real UTC. On a server in Shanghai, a thread is 8 hours younger than its own first message.
# For a chat like ours: adopting such a database needs the old server's time zone; otherwise threads sort wrongly, jump
#   at a change of summer time, and retention counts from the wrong hour.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  chainlit==2.12.0 'sqlalchemy[asyncio]==2.1.9' aiosqlite==0.22.1
cd "$folder"
TZ=Asia/Shanghai "$folder/venv/bin/python" - <<'PY'
import asyncio
import sys
from datetime import UTC, datetime
from importlib.metadata import version

import chainlit as cl
from chainlit.context import init_http_context
from chainlit.data.sql_alchemy import SQLAlchemyDataLayer
from sqlalchemy import text


async def main():
    layer = SQLAlchemyDataLayer("sqlite+aiosqlite:///chat.db")
    async with layer.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE users (id text, identifier text, metadata text, createdAt text)"))
        await connection.execute(
            text("CREATE TABLE threads (id text primary key, createdAt text, name text, userId text,"
                 " userIdentifier text, tags text, metadata text)")
        )
    user = await layer.create_user(cl.User(identifier="a.user"))
    init_http_context(user=user)
    await layer.update_thread("a thread", user_id=user.id)
    async with layer.engine.connect() as connection:
        thread = (await connection.execute(text("SELECT createdAt FROM threads"))).scalar_one()
    await layer.engine.dispose()
    return user.createdAt, thread, cl.Message("hello").to_dict() | {"createdAt": cl.message.utc_now()}


user, thread, step = asyncio.run(main())
now = datetime.now(UTC)
print("chainlit", version("chainlit"), "in the time zone of Shanghai (UTC+8)")
print("now, UTC:       ", now.isoformat())
hours = {}
for name, written in (("user", user), ("thread", thread), ("step", step["createdAt"])):
    hours[name] = round((datetime.fromisoformat(written) - now).total_seconds() / 3600)
    print(f"{name}.createdAt:".ljust(17), written, f"-> {hours[name]:+d} hours")
print("guess: +0 hours for all three")
if hours != {"user": 8, "thread": 8, "step": 0}:
    sys.exit("The behaviour has changed.")
PY
