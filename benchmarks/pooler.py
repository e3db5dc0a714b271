"""`python -m benchmarks.pooler`: what calls cost behind a connection pooler, without named statements.

Four contenders take turns on one server: directly, directly without named statements, and through PgBouncer in
transaction mode and, with named statements, in session mode. So the cost of the missing cache and that of the pooler
are measured apart.
"""

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.chat_report import put_section
from datalayer import create_data_layer
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.pgbouncer import pgbouncer, through
from tests.support.postgres import Cluster, Databases, find_binaries
from tests.support.records import new_id, page, step, thread, user_id

DIRECT, UNNAMED, TRANSACTION, SESSION = "direct", "unnamed", "transaction", "session"
TITLES = {
    DIRECT: "direct",
    UNNAMED: "direct, no named statements",
    SESSION: "PgBouncer, session mode, `pooler=session`",
    TRANSACTION: "PgBouncer, transaction mode",
}
ROUNDS, CALLS = 10, 20
TITLE = "## Behind a connection pooler"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_STEPS = 20
_TEXT = "word " * 400


class Calls:
    """The measured calls of one layer, in a thread of its own."""

    def __init__(self, layer: ChainlitLayer) -> None:
        self._layer = layer

    async def prepare(self) -> None:
        await self._layer.migrate()
        self._owner = await user_id(self._layer, "alice")
        self._thread = await thread(self._layer, self._owner)
        for _ in range(_STEPS):
            await self._layer.create_step(step(self._thread, _TEXT))
        self._written = await thread(self._layer, self._owner)

    async def create_step(self) -> None:
        await self._layer.create_step(step(self._written, _TEXT))

    async def get_thread(self) -> None:
        await self._layer.get_thread(self._thread)

    async def list_threads(self) -> None:
        await page(self._layer, self._owner)

    async def update_thread(self) -> None:
        await self._layer.update_thread(self._written, metadata={"key": new_id()})

    async def get_user(self) -> None:
        await self._layer.get_user("alice")


CALLED: dict[str, Callable[[Calls], Awaitable[None]]] = {
    "create_step, 2 kB": Calls.create_step,
    f"get_thread, {_STEPS} steps": Calls.get_thread,
    "list_threads": Calls.list_threads,
    "update_thread(metadata)": Calls.update_thread,
    "get_user": Calls.get_user,
}


async def measure(urls: dict[str, str]) -> dict[str, dict[str, float]]:
    """The median milliseconds of each call, by contender."""
    layers = {name: create_data_layer(url) for name, url in urls.items()}
    calls = {name: Calls(layer) for name, layer in layers.items()}
    for one in calls.values():
        await one.prepare()
    found: dict[str, dict[str, list[float]]] = {what: {name: [] for name in calls} for what in CALLED}
    for _ in range(ROUNDS):
        for what, call in CALLED.items():
            for name, one in calls.items():
                for _ in range(CALLS):
                    began = time.perf_counter()
                    await call(one)
                    found[what][name].append((time.perf_counter() - began) * 1000)
    for layer in layers.values():
        await layer.close()
    return {what: {name: statistics.median(one) for name, one in times.items()} for what, times in found.items()}


def report(found: dict[str, dict[str, float]], load: tuple[float, float]) -> list[str]:
    calls = ROUNDS * CALLS
    lines = [
        TITLE,
        "",
        f"Written by `python -m benchmarks.pooler`, {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores; load",
        f"average {load[0]:.1f} before, {load[1]:.1f} at the end, the benchmark included. Medians in ms of {calls}",
        "calls, in turns; PgBouncer and Postgres are on loopback, durability is on. Without named statements, the",
        "server parses and plans each execution again.",
        "",
        f"| | {' | '.join(TITLES.values())} |",
        "| --- |" + " ---: |" * len(TITLES),
    ]
    for what, times in found.items():
        cells = [f"{times[name]:.2f} (× {times[name] / times[DIRECT]:.2f})" for name in TITLES]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    binaries = find_binaries()
    assert binaries is not None, "install the package postgresql"
    before = os.getloadavg()[0]
    with ExitStack() as started:
        cluster = started.enter_context(Cluster(binaries, durable=True))
        databases = Databases(cluster.url)
        started.callback(databases.close)
        urls = {name: databases.create() for name in TITLES}
        urls[UNNAMED] += "?pooler=transaction"
        for mode in (TRANSACTION, SESSION):
            port = started.enter_context(pgbouncer(cluster.url, mode, pool_size=30))
            urls[mode] = through(urls[mode], port)
        urls[SESSION] += "?pooler=session"
        found = asyncio.run(measure(urls))
    put_section(PAGE, TITLE, report(found, (before, os.getloadavg()[0])))


if __name__ == "__main__":
    main()
