"""`python -m benchmarks.transfer`: a history from SQL to DynamoDB and back: time, requests and memory by its size.

moto serves in a process of its own on this machine. Requests are counted where boto sends them, so they hold for the
service too. Memory is the peak of what Python allocated during the comparison, which reads all of both.
"""

import asyncio
import os
import secrets
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import insert

import datalayer
from benchmarks.chat_report import put_section
from datalayer.dynamodb import tables
from datalayer.dynamodb.client import Table, place_of
from datalayer.schema.chat import steps, threads, users
from datalayer.transfer.to_sql import ToSql
from datalayer.transfer.to_table import ToTable
from tests.support.dynamodb_server import dynamodb_server
from tests.support.records import new_id

TITLE = "## DynamoDB: a history moves"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
SIZES = (1_000, 10_000)
STEPS_OF_A_THREAD = 20
_TEXT = "word " * 200
_NOW = "2026-01-01T00:00:00.000000Z"


async def filled(database: Any, size: int) -> None:
    """Store so many steps, of one user, in threads of `STEPS_OF_A_THREAD`."""
    owner = new_id()
    async with database.write() as connection:
        await connection.execute(insert(users).values(id=owner, identifier="alice", metadata={}, createdAt=_NOW))
        for _ in range(size // STEPS_OF_A_THREAD):
            thread_id = new_id()
            of = {"id": thread_id, "userId": owner, "userIdentifier": "alice", "createdAt": _NOW, "updatedAt": _NOW}
            await connection.execute(insert(threads).values(name="a thread", metadata={}, **of))
            fixed = {"threadId": thread_id, "name": "alice", "type": "run", "output": _TEXT, "createdAt": _NOW}
            rows = [{**fixed, "id": new_id(), "metadata": {"number": one}} for one in range(STEPS_OF_A_THREAD)]
            await connection.execute(insert(steps), rows)


async def measured(what: str, copy: Callable[..., ToSql | ToTable], requests: list[str]) -> str:
    """A row: a copy by time and requests, and the comparison by memory."""
    requests.clear()
    began = time.perf_counter()
    report = await copy(apply=True).run()
    seconds = time.perf_counter() - began
    sent, count = len(requests), report.steps.stored + report.threads.stored + report.users.stored
    tracemalloc.start()
    await copy(apply=False).run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    numbers = f"{count / seconds:,.0f} | {sent} | {sent / count:.3f} | {peak / 1e6:.1f}"
    return f"| {what} | {report.steps.stored:,} | {numbers} |"


def _count(requests: list[str], event_name: str, **_: Any) -> None:
    requests.append(event_name)


async def run(options: str, folder: Path) -> list[str]:
    """The rows of the table."""
    rows = []
    for size in SIZES:
        source = datalayer.create_data_layer(f"sqlite:///{folder / f'source-{size}.db'}")
        back = datalayer.create_data_layer(f"sqlite:///{folder / f'back-{size}.db'}")
        await source.migrate()
        await back.migrate()
        await filled(source.database, size)
        table = Table(place_of(f"dynamodb://bench-{secrets.token_hex(4)}?{options}"))
        await tables.create(table)
        requests: list[str] = []
        client = await table._connected()
        client.meta.events.register("before-send.dynamodb", partial(_count, requests))
        rows.append(await measured("SQLite to DynamoDB", partial(ToTable, source.database, None, table), requests))
        rows.append(await measured("DynamoDB to SQLite", partial(ToSql, table, None, back.database), requests))
        await source.close()
        await back.close()
        await table.close()
    return sorted(rows, key=lambda row: row[:12], reverse=True)


def main() -> None:
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, dynamodb_server(Path(folder)) as options:
        rows = asyncio.run(run(options, Path(folder)))
    load = f"load average {before:.1f} before, {os.getloadavg()[0]:.1f} at the end"
    lines = [
        TITLE,
        "",
        f"Written by `python -m benchmarks.transfer`, {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores; {load}.",
        f"Threads of {STEPS_OF_A_THREAD} steps of 1 kB; moto's server, which takes most of the time, in a process.",
        "Time without the comparison at the end, which reads both once more; memory during it.",
        "",
        "| | Steps | Records a second | Requests | Requests for a record | Peak of memory, MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *rows,
    ]
    put_section(PAGE, TITLE, lines)


if __name__ == "__main__":
    main()
