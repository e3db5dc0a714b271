"""How long 0.1.0 waits for a write while its database is upgraded.

By hand (`python -m tests.support.upgrade_under_load 2000000`), because it fills a durable Postgres with so many steps
first. Ten steps are in a thread; there are no model calls, and no texts in the search index.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import text

from datalayer import create_data_layer
from datalayer.database import Database
from tests.support.postgres import Cluster, Databases, find_binaries
from tests.support.version_0_1_0 import version_0_1_0

_AT_ONCE = 100_000
_SETTLE_SECONDS = 3
_ID = "('00000000-0000-4000-8000-' || lpad(to_hex({}), 12, '0'))::uuid"
_MOMENT = "'2026-01-01T00:00:00.000000Z'"
_THREADS = f"""INSERT INTO threads (id, "createdAt", "updatedAt", name)
    SELECT {_ID.format("g")}, {_MOMENT}, {_MOMENT}, 'a thread'
    FROM generate_series(CAST(:begin AS int) / 10, CAST(:end AS int) / 10) g
    ON CONFLICT DO NOTHING"""
_STEPS = f"""INSERT INTO steps (id, name, type, "threadId", output, streaming, "createdAt")
    SELECT gen_random_uuid(), 'x', CASE g % 2 WHEN 0 THEN 'user_message' ELSE 'assistant_message' END,
        {_ID.format("g / 10")}, repeat('some words of an answer ', 20), false, {_MOMENT}
    FROM generate_series(CAST(:begin AS int), CAST(:end AS int)) g"""


async def _fill(database: Database, count: int) -> None:
    async with database.write() as connection:
        for table in ("threads", "steps"):
            await connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
    for begin in range(0, count, _AT_ONCE):
        async with database.write() as connection:
            for statement in (_THREADS, _STEPS):
                await connection.execute(text(statement), {"begin": begin, "end": begin + _AT_ONCE - 1})
    async with database.write() as connection:
        for table in ("threads", "steps"):
            await connection.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))


async def _measure(url: str, count: int) -> None:
    layer = create_data_layer(url)
    with tempfile.TemporaryDirectory() as folder:
        async with version_0_1_0(url, Path(folder)) as old:
            await old("migrate")
            await _fill(layer.database, count)
            await old("write")
            await asyncio.sleep(_SETTLE_SECONDS)
            begun = time.monotonic()
            applied = await layer.migrate()
            took = time.monotonic() - begun
            print(f"{len(applied)} migrations in {took:.1f} s; 0.1.0 meanwhile: {await old('stop')}")
    await layer.close()


def main() -> None:
    binaries = find_binaries()
    assert binaries is not None, "Postgres is not on this machine"
    with Cluster(binaries, durable=True) as cluster:
        databases = Databases(cluster.url)
        asyncio.run(_measure(databases.create(), int(sys.argv[1])))
        databases.close()


if __name__ == "__main__":
    main()
