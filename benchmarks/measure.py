"""The measurements on a history of one size: every operation of the budgets, for every contender."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from chainlit.context import init_http_context

from benchmarks import data
from benchmarks.contenders import OPENERS, PAGE_SIZE, Contender, Found, fill, new_step
from benchmarks.timing import SUSTAINED_SECONDS, Call, Result, bursts, in_turns, sustained
from benchmarks.wire import Wire
from tests.support.postgres import Databases

FAR_SECONDS = 0.001
PAGES_BEFORE = 4
SMALL_THREADS = 20

FLOOR, OURS = "floor", "ours"
BARE = "floor without search"
SMALL = f"ours at {SMALL_THREADS} threads"
KINDS = tuple(OPENERS)
CREATE, CREATE_FAR = "create_step, 2 kB, one at a time", "create_step, 1 ms round trip"
UPDATE = "update_step, 2 kB, one at a time"
BURST, BURST_INDEXED = "50 in flight", "50 in flight, search indexed"
FIRST_PAGE, FIFTH_PAGE, GET = "list, page 1", "list, page 5", "get_thread, 200 steps, 10 elements"
FLAT = f"list, page 5, beside its own time at {SMALL_THREADS} threads"
SEARCH, SEARCH_CJK, VOTED = "search a rare word", "search two CJK characters", "filter by vote"
PER_SECOND = frozenset({BURST, BURST_INDEXED})

# The baseline of an operation, if it is not the floor's own time.
BASELINES = {
    # A floor without a search index shows what the index costs.
    BURST_INDEXED: (BURST_INDEXED, BARE),
    # Trigrams do not find words of two characters.
    SEARCH_CJK: (SEARCH, FLOOR),
    FLAT: (FLAT, SMALL),
}


@dataclass
class Size:
    """The results on a history of `threads` threads."""

    threads: int
    results: dict[str, dict[str, Result]] = field(default_factory=dict)

    def ratio(self, operation: str, kind: str) -> float | None:
        """The ratio to the time of the baseline; for operations in flight, the ratio to its rate."""
        beside, baseline = BASELINES.get(operation, (operation, FLOOR))
        found, held_to = self.results.get(operation, {}).get(kind), self.results.get(beside, {}).get(baseline)
        return found.value / held_to.value if found and held_to else None


async def measure_size(
    databases: Databases,
    threads: int,
    *,
    rounds: int,
    kinds: tuple[str, ...] = KINDS,
    sustained_seconds: float = SUSTAINED_SECONDS,
) -> Size:
    """Measure all operations on a history of this many threads, each contender on its own database."""
    size = Size(threads)
    async with contextlib.AsyncExitStack() as made:
        urls = {kind: await _filled(made, databases, kind, threads) for kind in kinds}
        init_http_context()
        async with contextlib.AsyncExitStack() as stack:
            opened = {kind: await _open(stack, kind, url) for kind, url in urls.items()}
            # Reads come first, because writes change the history.
            await _read(size, opened, rounds)
            if threads >= (PAGES_BEFORE + 1) * PAGE_SIZE:
                small = None
                if OURS in kinds:
                    small = await _open(stack, OURS, await _filled(made, databases, OURS, SMALL_THREADS))
                await _read_far_back(size, opened, small, rounds)
            await _search_and_write(size, opened, urls, rounds, sustained_seconds)
        async with contextlib.AsyncExitStack() as stack:
            far = {}
            for kind, url in urls.items():
                wire = stack.enter_context(Wire(url, delay_seconds=FAR_SECONDS))
                far[kind] = creating(await _open(stack, kind, wire.url))
            size.results[CREATE_FAR] = await in_turns(far, rounds)
    return size


async def _filled(made: contextlib.AsyncExitStack, databases: Databases, kind: str, threads: int) -> str:
    url = databases.create()
    made.callback(databases.drop, url)
    await fill(url, kind, threads)
    return url


async def _open(stack: contextlib.AsyncExitStack, kind: str, url: str) -> Contender:
    contender = await OPENERS[kind](url)
    stack.push_async_callback(contender.close)
    return contender


async def _read(size: Size, opened: Mapping[str, Contender], rounds: int) -> None:
    results = size.results
    results[FIRST_PAGE] = await in_turns({k: _page(one) for k, one in opened.items()}, rounds, _is_full)
    results[GET] = await in_turns(
        {k: _get(one) for k, one in opened.items()},
        rounds,
        lambda found: "" if found == (data.LONG_STEPS, data.LONG_ELEMENTS) else f"gave {found[0]} steps",
    )
    voted = {data.thread_id(n) for n in range(data.VOTED_EVERY, size.threads + 1, data.VOTED_EVERY)}
    results[VOTED] = await in_turns(
        {k: _page(one, vote=1) for k, one in opened.items()},
        rounds,
        lambda found: "" if len(found.ids) == min(PAGE_SIZE, len(voted)) and voted.issuperset(found.ids) else "ignored",
    )


async def _read_far_back(size: Size, opened: Mapping[str, Contender], small: Contender | None, rounds: int) -> None:
    fifth = {}
    for kind, one in opened.items():
        cursor = None
        for _ in range(PAGES_BEFORE):
            cursor = (await one.page(cursor)).cursor
        fifth[kind] = _page(one, cursor)
    size.results[FIFTH_PAGE] = await in_turns(fifth, rounds, _is_full)
    if small:
        # Twenty threads fit on one page.
        size.results[FLAT] = await in_turns({OURS: fifth[OURS], SMALL: _page(small)}, rounds, _is_full)


async def _search_and_write(
    size: Size, opened: Mapping[str, Contender], urls: Mapping[str, str], rounds: int, seconds: float
) -> None:
    results = size.results
    has_trigrams = FLOOR in urls and await _has_trigrams(urls[FLOOR])
    if has_trigrams:
        wanted = (data.thread_id(size.threads // 2),)
        for operation, word in ((SEARCH, data.RARE_WORD), (SEARCH_CJK, data.CJK_WORD)):
            results[operation] = await in_turns(
                {k: _page(one, word=word) for k, one in opened.items() if k != FLOOR or operation == SEARCH},
                rounds,
                lambda found: "" if found.ids == wanted else "not found",
            )
        indexed = {FLOOR: await sustained(opened[FLOOR], seconds)}
        await _run(urls[FLOOR], data.FLOOR_NO_SEARCH)
    results[CREATE] = await in_turns({kind: creating(one) for kind, one in opened.items()}, rounds)
    results[UPDATE] = await in_turns({kind: updating(one) for kind, one in opened.items()}, rounds)
    results[BURST] = await bursts(opened)
    if has_trigrams:
        indexed[BARE] = await sustained(opened[FLOOR], seconds)
        if OURS in opened:
            # Our layer always updates its index; it has no variant without one.
            indexed[OURS] = await sustained(opened[OURS], seconds)
        results[BURST_INDEXED] = indexed


async def _has_trigrams(url: str) -> bool:
    """Create the floor's search index if the server has the extension; return whether it does."""
    connection = await asyncpg.connect(url)
    try:
        if not await connection.fetchval("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'"):
            return False
        await connection.execute(data.FLOOR_SEARCH)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    return True


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def creating(contender: Contender) -> Call:
    """A call that creates one more step each time."""
    return lambda: contender.write(new_step(data.thread_id(1)), created=True)


def updating(contender: Contender) -> Call:
    """A call that gives one step another text each time."""
    step = new_step(data.thread_id(1))
    return lambda: contender.write(step | {"output": new_step(step["threadId"])["output"]}, created=False)


def _page(contender: Contender, cursor: Any = None, *, vote: int | None = None, word: str | None = None) -> Call:
    return lambda: contender.page(cursor, vote=vote, word=word)


def _get(contender: Contender) -> Call:
    return lambda: contender.thread(data.LONG_THREAD)


def _is_full(found: Found) -> str:
    return "" if len(found.ids) == PAGE_SIZE else f"gave {len(found.ids)}"
