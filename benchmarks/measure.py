"""Times and counts. The contenders take turns, call by call, so that what else the machine does hits all alike."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from chainlit.context import init_http_context

from benchmarks import data
from benchmarks.contenders import OPENERS, PAGE_SIZE, Contender, Found, fill, new_step
from benchmarks.wire import Wire
from tests.postgres import Databases

SECONDS_EACH = 2.0
"""Nobody gets more than this for one operation: the slow ones are measured fewer times."""
FAR_SECONDS = 0.001
WARM_UPS = 6
SLOW_SECONDS = 0.1
IN_FLIGHT = 50
WRITERS_WRITES = 20
BURSTS = 3
PAGES_BEFORE = 4

FLOOR = "floor"
KINDS = tuple(OPENERS)
CREATE, CREATE_FAR, BURST = "create_step, 2 kB, one at a time", "create_step, 1 ms round trip", "50 in flight"
FIRST_PAGE, FIFTH_PAGE, GET = "list, page 1", "list, page 5", "get_thread, 200 steps, 10 elements"
SEARCH, VOTED = "search a rare word", "filter by vote"


@dataclass
class Result:
    """What one contender took for one operation: a median in ms, or for BURST writes per second."""

    value: float
    times: int
    wrong: str = ""
    """What was wrong with the answer, where it was."""


@dataclass
class Size:
    """The results on a history of so many threads."""

    threads: int
    results: dict[str, dict[str, Result]] = field(default_factory=dict)

    def ratio(self, operation: str, kind: str) -> float | None:
        """How many times the floor's time it took (for BURST: which part of the floor's rate it reached)."""
        found = self.results.get(operation, {})
        return found[kind].value / found[FLOOR].value if kind in found and FLOOR in found else None


async def measure_size(databases: Databases, threads: int, *, rounds: int, kinds: tuple[str, ...] = KINDS) -> Size:
    """Measure all operations on a history of this many threads."""
    size = Size(threads)
    urls = {kind: databases.create() for kind in kinds}
    try:
        for kind, url in urls.items():
            await fill(url, kind, threads)
        init_http_context()
        opened = {kind: await OPENERS[kind](url) for kind, url in urls.items()}
        try:
            await _measure(size, opened, urls, rounds)
        finally:
            for contender in opened.values():
                await contender.close()
        async with contextlib.AsyncExitStack() as stack:
            far = {}
            for kind, url in urls.items():
                wire = stack.enter_context(Wire(url, delay_seconds=FAR_SECONDS))
                contender = await OPENERS[kind](wire.url)
                stack.push_async_callback(contender.close)
                far[kind] = _creating(contender)
            size.results[CREATE_FAR] = await _in_turns(far, rounds)
    finally:
        for url in urls.values():
            databases.drop(url)
    return size


async def _measure(size: Size, opened: Mapping[str, Contender], urls: Mapping[str, str], rounds: int) -> None:
    results = size.results
    # Reading comes first, while the history is what it was made to be.
    results[FIRST_PAGE] = await _in_turns({k: _page(one) for k, one in opened.items()}, rounds, _is_full)
    if size.threads >= (PAGES_BEFORE + 1) * PAGE_SIZE:
        fifth = {}
        for kind, one in opened.items():
            cursor = None
            for _ in range(PAGES_BEFORE):
                cursor = (await one.page(cursor)).cursor
            fifth[kind] = _page(one, cursor)
        results[FIFTH_PAGE] = await _in_turns(fifth, rounds, _is_full)
    results[GET] = await _in_turns(
        {k: _get(one) for k, one in opened.items()},
        rounds,
        lambda found: "" if found == (data.LONG_STEPS, data.LONG_ELEMENTS) else f"gave {found[0]} steps",
    )
    voted = {data.thread_id(n) for n in range(data.VOTED_EVERY, size.threads + 1, data.VOTED_EVERY)}
    results[VOTED] = await _in_turns(
        {k: _page(one, vote=1) for k, one in opened.items()},
        rounds,
        lambda found: "" if len(found.ids) == min(PAGE_SIZE, len(voted)) and voted.issuperset(found.ids) else "ignored",
    )
    if FLOOR in urls and await has_trigrams(urls[FLOOR]):
        wanted = (data.thread_id(size.threads // 2),)
        results[SEARCH] = await _in_turns(
            {k: _page(one, word=data.RARE_WORD) for k, one in opened.items()},
            rounds,
            lambda found: "" if found.ids == wanted else "not found",
        )
        await _run(urls[FLOOR], data.FLOOR_NO_SEARCH)
    results[CREATE] = await _in_turns({kind: _creating(one) for kind, one in opened.items()}, rounds)
    bursts: dict[str, list[Result]] = {kind: [] for kind in opened}
    for _ in range(BURSTS):
        for kind, one in opened.items():
            bursts[kind].append(await _burst(one))
    results[BURST] = {kind: sorted(found, key=lambda one: one.value)[BURSTS // 2] for kind, found in bursts.items()}


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def has_trigrams(url: str) -> bool:
    """Index the floor's texts, where the server has the extension for it."""
    connection = await asyncpg.connect(url)
    try:
        if not await connection.fetchval("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'"):
            return False
        await connection.execute(data.FLOOR_SEARCH)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    return True


async def count_statements(url: str, kind: str) -> tuple[float, float]:
    """Statements and round trips of one `create_step`, after the first ones, on the wire."""
    times = 10
    init_http_context()
    with Wire(url) as wire:
        contender = await OPENERS[kind](wire.url)
        try:
            create = _creating(contender)
            for _ in range(3):
                await create()
            wire.reset()
            for _ in range(times):
                await create()
            return wire.statements / times, wire.round_trips / times
        finally:
            await contender.close()


Call = Callable[[], Awaitable[Any]]


async def _in_turns(
    calls: Mapping[str, Call], rounds: int, fault: Callable[[Any], str] = lambda _: ""
) -> dict[str, Result]:
    times: dict[str, list[float]] = {kind: [] for kind in calls}
    wrong = {kind: fault(await call()) for kind, call in calls.items()}
    for call in calls.values():
        # From the sixth time on Postgres and the drivers have their plans.
        for _ in range(WARM_UPS if rounds > WARM_UPS else 0):
            if await _timed(call) > SLOW_SECONDS:
                break
    for _ in range(rounds):
        for kind, call in calls.items():
            if sum(times[kind]) < SECONDS_EACH:
                times[kind].append(await _timed(call))
    return {kind: Result(statistics.median(taken) * 1000, len(taken), wrong[kind]) for kind, taken in times.items()}


async def _timed(call: Call) -> float:
    begun = time.perf_counter()
    await call()
    return time.perf_counter() - begun


async def _burst(contender: Contender) -> Result:
    """Writes per second when each of many tasks creates a step, updates it, and goes on to the next."""

    async def work(writer: int) -> None:
        for _ in range(WRITERS_WRITES // 2):
            step = new_step(data.thread_id(1 + writer % 20))
            await contender.write(step, created=True)
            await contender.write(step, created=False)

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(work(n) for n in range(IN_FLIGHT)), return_exceptions=True)

    begun = time.perf_counter()
    failed = [error for error in await all_of_them() if error]
    taken = time.perf_counter() - begun
    return Result(IN_FLIGHT * WRITERS_WRITES / taken, 1, f"{type(failed[0]).__name__}" if failed else "")


def _creating(contender: Contender) -> Call:
    return lambda: contender.write(new_step(data.thread_id(1)), created=True)


def _page(contender: Contender, cursor: Any = None, *, vote: int | None = None, word: str | None = None) -> Call:
    return lambda: contender.page(cursor, vote=vote, word=word)


def _get(contender: Contender) -> Call:
    return lambda: contender.thread(data.LONG_THREAD)


def _is_full(found: Found) -> str:
    return "" if len(found.ids) == PAGE_SIZE else f"gave {len(found.ids)}"
