"""`python -m benchmarks.embedded`: writes steps to SQLite with one writer, ours and hand-written with aiosqlite.

Both have a copy of the same database and the same settings of durability. The floor writes what its statement says and
checks nothing: no owner, no queue, no late creation, and no marks for search and review, whose triggers are dropped.
"""

import argparse
import asyncio
import os
import platform
import sqlite3
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiosqlite

import datalayer
from benchmarks.chat_report import put_section
from benchmarks.contenders import new_step
from benchmarks.timing import Call, Result, in_turns
from datalayer.dialects.sqlite_direct import PRAGMAS
from tests.support.records import thread, user_id
from tests.support.server import ROOT

TITLE = "## SQLite, one writer"
MOST_TIMES_FLOOR = 1.3
OPERATIONS = CREATE, UPDATE = "create_step", "update_step"
_COLUMNS = ("id", "name", "type", "threadId", "streaming", "metadata", "output", "createdAt", "start", "end")
_NAMES = ", ".join(f'"{column}"' for column in _COLUMNS)
_CHANGES = ", ".join(f'"{column}" = excluded."{column}"' for column in _COLUMNS if column not in ("id", "threadId"))
_TOUCH = 'UPDATE threads SET "updatedAt" = ?1 WHERE id = ?2 AND "updatedAt" < ?1'
_WRITE = f"""
INSERT INTO steps ({_NAMES}) VALUES ({", ".join("?" * len(_COLUMNS))}) ON CONFLICT (id) DO UPDATE SET {_CHANGES}
"""


class EmbeddedFloor:
    """The minimum with aiosqlite: one transaction of two statements."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def write(self, step: dict[str, Any]) -> None:
        values = {**dict.fromkeys(_COLUMNS), **step, "metadata": "{}"}
        await self._connection.execute("BEGIN IMMEDIATE")
        await self._connection.execute(_TOUCH, (values["createdAt"], values["threadId"]))
        await self._connection.execute(_WRITE, [values[column] for column in _COLUMNS])
        await self._connection.commit()


async def open_floor(file: Path) -> aiosqlite.Connection:
    """A connection with our settings, to a database without our triggers."""
    connection = await aiosqlite.connect(file, isolation_level=None)
    for pragma in PRAGMAS:
        await connection.execute(pragma)
    triggers = await connection.execute_fetchall("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    for (name,) in triggers:
        await connection.execute(f'DROP TRIGGER "{name}"')
    return connection


async def measure(rounds: int) -> dict[str, dict[str, Result]]:
    """The median of each operation in ms, for "floor" and "ours"; they take turns, call by call."""
    with tempfile.TemporaryDirectory(prefix="threadkeeper-embedded-") as folder:
        ours, other = Path(folder, "ours.db"), Path(folder, "floor.db")
        layer = datalayer.create_data_layer(f"sqlite:///{ours}")
        await layer.migrate()
        thread_id = await thread(layer, await user_id(layer, "alice"))
        # A copy of the file alone would lack what is in the write-ahead log.
        with sqlite3.connect(ours) as source, sqlite3.connect(other) as target:
            source.backup(target)
        source.close()
        target.execute("PRAGMA journal_mode=WAL")
        target.close()
        connection = await open_floor(other)
        floor = EmbeddedFloor(connection)
        known = [new_step(thread_id), new_step(thread_id)]
        calls: dict[str, dict[str, Call]] = {
            CREATE: {
                "floor": lambda: floor.write(new_step(thread_id)),
                "ours": lambda: layer.create_step(new_step(thread_id)),
            },
            UPDATE: {"floor": lambda: floor.write(known[0]), "ours": lambda: layer.update_step(known[1])},
        }
        try:
            return {name: await in_turns(contenders, rounds) for name, contenders in calls.items()}
        finally:
            await connection.close()
            await layer.close()


def times_floor(found: dict[str, Result]) -> float:
    return found["ours"].value / found["floor"].value


def lines(results: dict[str, dict[str, Result]], *, rounds: int, begun: float, seconds: float) -> list[str]:
    rows = [
        TITLE,
        "",
        f"Written by `python -m benchmarks.embedded`, {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, Python",
        f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}, aiosqlite {version('aiosqlite')};",
        f"load average {begun:.1f} before, {os.getloadavg()[0]:.1f} at the end; {seconds:.0f} s.",
        "",
        "A step of 2 kB, one at a time, in files with the same tables, indexes and settings (`synchronous=FULL`, WAL).",
        "The floor is one transaction of two statements with aiosqlite: it checks nothing and writes no marks for",
        f"search and review. Medians in ms of at most {rounds} calls, in turns.",
        "",
        "| | floor | Threadkeeper | × floor | budget | |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, found in results.items():
        times = times_floor(found)
        met = "met" if times <= MOST_TIMES_FLOOR else "**not met**"
        rows.append(
            f"| {name} | {found['floor'].value:.2f} | {found['ours'].value:.2f} | {times:.2f} "
            f"| ≤ {MOST_TIMES_FLOOR:g} | {met} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md", help="page that gets the section")
    options = parser.parse_args()
    begun, began = os.getloadavg()[0], time.perf_counter()
    results = asyncio.run(measure(options.rounds))
    section = lines(results, rounds=options.rounds, begun=begun, seconds=time.perf_counter() - began)
    print("\n".join(section))
    put_section(options.out, TITLE, section)


if __name__ == "__main__":
    main()
