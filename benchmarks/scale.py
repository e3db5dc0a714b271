"""`python -m benchmarks.scale`: lists, search, resume, usage and review on a history ten times as long.

Two databases of one Postgres, with as many users, and with as many threads in the last month: a hundred thousand
threads and a million, of ten steps each. Each operation is measured on both in turns, for several users or threads,
which were read once before. The medians depend on the machine; the numbers of statements, trips and blocks do not.
"""

import argparse
import asyncio
import contextlib
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import asyncpg

import datalayer
from benchmarks import scale_data as data
from benchmarks.chat_report import put_section
from benchmarks.wire import Wire
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.migrations.lists import count_folders
from datalayer.records.review import AnswerFilter
from datalayer.records.usage import CallFilter, LlmCall, LlmCallPayload
from tests.support.postgres import Cluster, Databases, find_binaries
from tests.support.records import new_id, page, step
from tests.support.server import ROOT
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.pages.sentences import Say
from threadkeeper.web.review.inbox import inbox
from threadkeeper.web.review.query import read_review_query

THREADS: Final = 1_000_000
TIMES: Final = 10
"""How many times as long the longer history is."""
ROUNDS: Final = 48
SUBJECTS: Final = 8
"""Users or threads that each operation is measured with."""
MOST_SECONDS: Final = 20.0
SLOW_SECONDS: Final = 0.5
"""A slower operation is measured with two of them."""
SETTINGS: Final = {
    **{"shared_buffers": "1GB", "maintenance_work_mem": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"},
    **{"fsync": "off", "full_page_writes": "off", "shared_preload_libraries": "pg_stat_statements"},
    **{"pg_stat_statements.track_utility": "off", "max_parallel_maintenance_workers": "1"},
}
_BYTES_A_THREAD: Final = 40_000
_TITLE: Final = "## A history ten times as long"
_MONTH: Final = CallFilter(*data.MONTH)
_RESET: Final = "SELECT pg_stat_statements_reset()"
_TOUCHED: Final = """SELECT coalesce(sum(shared_blks_hit + shared_blks_read), 0)::float8 FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND query NOT LIKE '%pg_stat_statements%'"""

Call = Callable[[ChainlitLayer, int], Awaitable[Any]]
"""Called with the number of a thread, of which the user, the thread or the call is taken."""


@dataclass(frozen=True)
class Operation:
    title: str
    call: Call
    actor: Callable[[int], str | None] = lambda _: None
    """Who acts; None is the system."""
    every: int = 1
    """The numbers of the threads are multiples of this: of 20, those of the user with the most threads."""


@dataclass
class Measured:
    """What an operation took on one history: the median in ms, and means of a call."""

    ms: float = 0.0
    blocks: float = 0.0
    statements: float = 0.0
    trips: float = 0.0
    times: list[float] = field(default_factory=list)


def _own(thread: int) -> str:
    return data.user_name(data.owner(thread))


def _reviewer(_thread: int) -> str:
    return data.REVIEWER


def _listing(**filters: Any) -> Call:
    return lambda layer, thread: page(layer, data.user_id(data.owner(thread)), **filters)


def _searching(words: Callable[[int], str]) -> Call:
    return lambda layer, thread: page(layer, data.user_id(data.owner(thread)), search=words(thread))


async def _five_pages(layer: ChainlitLayer, thread: int) -> Any:
    user_id = data.user_id(data.owner(thread))
    found = await page(layer, user_id)
    for _ in range(4):
        found = await page(layer, user_id, after=found.pageInfo.endCursor)
    return found


async def _folders(layer: ChainlitLayer, thread: int) -> Any:
    return await layer.folders(data.user_id(data.owner(thread)))


async def _write_step(layer: ChainlitLayer, thread: int) -> None:
    await layer.create_step(step(data.thread_id(thread), data.texts()[thread % data.TEXTS][1]))


async def _record_call(layer: ChainlitLayer, thread: int) -> None:
    call = LlmCall(
        id=new_id(),
        kind="chat",
        model="model-1",
        requested_at="2026-11-29T00:00:00.000000Z",
        user_id=data.user_id(data.owner(thread)),
        thread_id=data.thread_id(thread),
        prompt_tokens=100,
        completion_tokens=100,
    )
    await layer.record_call(call, LlmCallPayload(call.id, [{"content": "a question"}], "an answer"))


async def _take_and_release(layer: ChainlitLayer, _thread: int) -> None:
    item = await layer.take_next()
    assert item is not None
    await layer.release_item(item.step_id)


async def _whole_inbox(layer: ChainlitLayer, _thread: int) -> Any:
    query = read_review_query("", ZoneInfo("UTC"), me=data.REVIEWER)
    person = Person("", data.REVIEWER, "admin")
    return await inbox(layer, query, person, ReviewPolicy(), Say("en-US"), cursor=None)


def _answers(**fields: Any) -> Call:
    return lambda layer, _thread: layer.list_answers(AnswerFilter(**fields), limit=20)


def _own_month(thread: int) -> CallFilter:
    return CallFilter(*data.MONTH, user_ids=(data.user_id(data.owner(thread)),))


OPERATIONS: Final = (
    Operation("list, page 1", _listing(), _own),
    Operation("list, pages 1 to 5, most threads", _five_pages, _own, every=20),
    Operation("list, thumb down", _listing(feedback=0), _own),
    Operation("list, thumb down, most threads", _listing(feedback=0), _own, every=20),
    Operation("tags of a user", _folders, _own),
    Operation("tags of a user, most threads", _folders, _own, every=20),
    Operation("search, a rare word", _searching(data.rare_word), _own),
    Operation("search, a rare word, most threads", _searching(data.rare_word), _own, every=20),
    Operation("search, a word of most texts", _searching(lambda _: data.EVERYDAY_WORD), _own),
    Operation("search, two Chinese characters", _searching(lambda _: data.CJK_WORD), _own),
    Operation("resume a thread", lambda layer, thread: layer.get_thread(data.thread_id(thread)), _own),
    Operation("write a message", _write_step, _own),
    Operation("record a call with its payload", _record_call),
    Operation("usage: totals of a month", lambda layer, _: layer.usage_totals(_MONTH)),
    Operation("usage: a month by day", lambda layer, _: layer.usage_series(_MONTH, "day", "UTC")),
    Operation("usage: a month by model", lambda layer, _: layer.usage_by(_MONTH, "model")),
    Operation(
        "usage: one's own month by day",
        lambda layer, thread: layer.usage_series(_own_month(thread), "day", "UTC"),
        _own,
    ),
    Operation("usage: newest calls", lambda layer, _: layer.list_calls(CallFilter())),
    Operation("usage: a call with its payload", lambda layer, thread: layer.get_call(data.call_id(thread, 5))),
    Operation("users with their costs", lambda layer, _: layer.page_of_users(cost_since=data.MONTH[0])),
    Operation("review: newest answers", _answers(), _reviewer),
    Operation("review: thumb down", _answers(thumb="down"), _reviewer),
    Operation("review: errors", _answers(is_error=True), _reviewer),
    Operation("review: a tag", _answers(tags=("tag3",)), _reviewer),
    Operation("review: a user", lambda layer, thread: _answers(users=(_own(thread),))(layer, thread), _reviewer),
    Operation("review: not reviewed", _answers(is_reviewed=False), _reviewer),
    Operation("review: the whole inbox", _whole_inbox, _reviewer),
    Operation("queue: open items", lambda layer, _: layer.list_queue(limit=20), _reviewer),
    Operation("queue: take one and give it back", _take_and_release, _reviewer),
)


async def fill(url: str, threads: int, say: Callable[[str], None] = print) -> None:
    """Fill an empty database."""
    layer = datalayer.create_data_layer(url)
    await layer.migrate()
    connection = await asyncpg.connect(url, command_timeout=6 * 3600)
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        await connection.execute(data.BEGIN)
        await connection.copy_records_to_table("u", records=data.users())
        await connection.copy_records_to_table("x", records=data.texts())
        for what, statement in data.history(threads):
            begun = time.monotonic()
            await connection.execute(statement)
            say(f"{threads:,} threads: {what}: {time.monotonic() - begun:.0f} s")
        await connection.execute("UPDATE pg_index SET indisready = true WHERE NOT indisready")
        for statement in data.REINDEX:
            begun = time.monotonic()
            await connection.execute(statement)
            say(f"{threads:,} threads: {statement}: {time.monotonic() - begun:.0f} s")
        await connection.execute("RESET session_replication_role")
        await connection.execute("VACUUM (ANALYZE, PARALLEL 0)")
        await _compare_with_the_derived(layer, connection, threads)
    finally:
        await connection.close()
        await layer.close()


async def _compare_with_the_derived(layer: ChainlitLayer, connection: Any, threads: int) -> None:
    """What the SQL of the benchmark has made is what the layer makes of the same texts, votes and calls."""
    chosen = [data.thread_id(number) for number in range(max(1, threads - 60), threads + 1)]
    reads = (
        'SELECT "stepId", "threadId", words FROM search_texts WHERE "threadId" = ANY($1::uuid[]) ORDER BY 2, 1',
        'SELECT * FROM review_answers WHERE "threadId" = ANY($1::uuid[]) ORDER BY "stepId"',
        'SELECT id, "votedUp", "votedDown" FROM threads WHERE id = ANY($1::uuid[]) ORDER BY id',
        """SELECT "userId", "userIdentifier", tag, threads FROM folder_counts WHERE "userId" IN (
            SELECT "userId" FROM threads WHERE id = ANY($1::uuid[])) ORDER BY 1, 3""",
    )
    before = [await connection.fetch(read, chosen) for read in reads]
    for mark in (
        """INSERT INTO search_pending ("threadId", "stepId", "userId") SELECT s."threadId", s.id, t."userId"
        FROM steps s JOIN threads t ON t.id = s."threadId" WHERE t.id = ANY($1::uuid[]) AND s.output <> ''""",
        'INSERT INTO search_pending ("threadId", "userId") SELECT id, "userId" FROM threads WHERE id = ANY($1::uuid[])',
        'INSERT INTO review_pending ("threadId") SELECT unnest($1::uuid[])',
        "SELECT note_votes_in(id) FROM unnest($1::uuid[]) id",
    ):
        await connection.execute(mark, chosen)
    async with layer.database.write() as writing:
        await count_folders(writing)
    await layer.search_indexer.finish()
    while not await layer.answer_follower.caught_up():
        pass
    for read, there in zip(reads, before, strict=True):
        if not there or await connection.fetch(read, chosen) != there:
            raise RuntimeError(f"the benchmark has filled its tables with other rows than the data layer: {read}")


async def measure(urls: Mapping[int, str], rounds: int = ROUNDS) -> dict[str, dict[int, Measured]]:
    """What each operation takes on the databases, by their number of threads."""
    found: dict[str, dict[int, Measured]] = {}
    async with contextlib.AsyncExitStack() as stack:
        layers, counted, connections, wires = {}, {}, {}, {}
        for threads, url in urls.items():
            wires[threads] = stack.enter_context(Wire(url))
            layers[threads] = datalayer.create_data_layer(url)
            counted[threads] = datalayer.create_data_layer(wires[threads].url)
            connections[threads] = await asyncpg.connect(url)
            for one in (layers[threads], counted[threads], connections[threads]):
                stack.push_async_callback(one.close)
        for operation in OPERATIONS:
            results = found[operation.title] = {threads: Measured() for threads in urls}
            number_of_subjects = SUBJECTS
            for threads, layer in layers.items():
                if await _run(operation, layer, subjects(operation, threads)[0]) > SLOW_SECONDS:
                    number_of_subjects = 2
            for threads, layer in layers.items():
                chosen = subjects(operation, threads)[:number_of_subjects]
                for subject in chosen:
                    await _run(operation, layer, subject)
                await connections[threads].execute(_RESET)
                for subject in chosen:
                    await _run(operation, layer, subject)
                results[threads].blocks = await connections[threads].fetchval(_TOUCHED) / number_of_subjects
                await _run(operation, counted[threads], subject)
                wires[threads].reset()
                await _run(operation, counted[threads], subject)
                results[threads].statements = wires[threads].statements
                results[threads].trips = wires[threads].round_trips
            begun = time.monotonic()
            for number in range(rounds):
                for threads, layer in layers.items():
                    subject = subjects(operation, threads)[number % number_of_subjects]
                    results[threads].times.append(await _run(operation, layer, subject))
                if time.monotonic() - begun > MOST_SECONDS and number >= number_of_subjects - 1:
                    break
            for result in results.values():
                result.ms = statistics.median(result.times) * 1000
    return found


def subjects(operation: Operation, threads: int) -> list[int]:
    """The numbers of some of the newest threads."""
    if operation.every > 1:
        last = threads - threads % operation.every
        return [last - operation.every * number for number in range(SUBJECTS)]
    return [number for number in range(threads, 0, -1) if number % 20][: 7 * SUBJECTS : 7]


async def _run(operation: Operation, layer: ChainlitLayer, subject: int) -> float:
    begun = time.perf_counter()
    actor = operation.actor(subject)
    with datalayer.acting_as(actor) if actor is not None else contextlib.nullcontext():
        await operation.call(layer, subject)
    return time.perf_counter() - begun


def lines(
    found: Mapping[str, Mapping[int, Measured]], sizes: Mapping[int, int], *, begun: float, seconds: float
) -> list[str]:
    """The section, with its title.

    Args:
        sizes: the bytes of each database.
    """
    few, many = sizes
    rows = [
        _TITLE,
        "",
        f"Written by `python -m benchmarks.scale`, {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, Python",
        f"{platform.python_version()}; load average {begun:.1f} before, {os.getloadavg()[0]:.1f} at the end;",
        f"{seconds / 60:.0f} min. The same {data.USERS:,} users, and as many threads and calls in the last month;",
        f"{data.STEPS} steps a thread. {few:,} threads take {sizes[few] / 1e9:.1f} GB, {many:,} threads",
        f"{sizes[many] / 1e9:.1f} GB; 1 GB of shared buffers. Medians in ms of turns with {SUBJECTS} users or threads;",
        "blocks are the pages of 8 kB that the server touches for a call, in its memory or not.",
        "",
        f"| | statements | trips | {few:,} threads: ms | blocks | {many:,} threads: ms | blocks | × ms | × blocks |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for title, by_size in found.items():
        short, long = by_size[few], by_size[many]
        counts = f"{long.statements:g} | {long.trips:g}"
        if (short.statements, short.trips) != (long.statements, long.trips):
            counts = f"{short.statements:g}, {long.statements:g} | {short.trips:g}, {long.trips:g}"
        rows.append(
            f"| {title} | {counts} | {short.ms:.2f} | {short.blocks:,.0f} | {long.ms:.2f} | {long.blocks:,.0f} | "
            f"{long.ms / short.ms:.2f} | {long.blocks / max(short.blocks, 1):.2f} |"
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=THREADS, help="of the longer history, at least 2,000")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="maximum number of runs of each operation")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md", help="page that gets the section")
    options = parser.parse_args(arguments)
    need, free = options.threads * _BYTES_A_THREAD, shutil.disk_usage(tempfile.gettempdir()).free
    if free < need:
        raise SystemExit(
            f"{need / 1e9:.0f} GB of disk are needed, and {free / 1e9:.0f} GB are free: give fewer --threads"
        )
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("Postgres is not installed. Install it with its extension pg_stat_statements.")
    started, begun = time.monotonic(), os.getloadavg()[0]
    with Cluster(binaries, durable=True, settings=SETTINGS) as cluster:
        databases = Databases(cluster.url)
        try:
            urls = {threads: databases.create() for threads in (options.threads // TIMES, options.threads)}
            for threads, url in urls.items():
                asyncio.run(fill(url, threads, lambda what: print(what, flush=True)))
            found = asyncio.run(measure(urls, options.rounds))
            sizes = {threads: asyncio.run(size(url)) for threads, url in urls.items()}
        finally:
            databases.close()
    section = lines(found, sizes, begun=begun, seconds=time.monotonic() - started)
    print("\n".join(section))
    put_section(options.out, _TITLE, section)


async def size(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT pg_database_size(current_database())"))
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
