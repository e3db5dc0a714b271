"""Short measurements of the budgets, as ratios to the floor, on the same server at the same time.

The limits leave room for a busy machine. They detect a slowdown by several times; `make bench` measures exactly.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from benchmarks import measure, memory, review, statements, usage
from benchmarks.budgets import BUDGETS, Budget
from benchmarks.contenders import fill
from benchmarks.measure import (
    BURST,
    BURST_INDEXED,
    CREATE,
    CREATE_FAR,
    FIFTH_PAGE,
    FIRST_PAGE,
    FLAT,
    FLOOR,
    GET,
    OURS,
    SEARCH,
    SEARCH_CJK,
    UPDATE,
    VOTED,
)
from benchmarks.usage_report import BY_DAY, MOST_TIMES
from benchmarks.wire import Wire
from tests.support import missing
from tests.support.postgres import Databases

pytestmark = pytest.mark.budget

THREADS = 1000
ROUNDS = 15
SUSTAINED_SECONDS = 0.5
# The machine is shared, so a missed limit is measured again, and the better result counts.
TRIES = 2


@dataclass(frozen=True)
class Limit:
    """How far a run can be from its budget: a factor on the ratio, or a divisor of the rate."""

    margin: float
    why: str

    def misses(self, budget: Budget, ratio: float) -> bool:
        return ratio < budget.ratio / self.margin if budget.is_least else ratio > budget.ratio * self.margin


LIMITS = {
    CREATE: Limit(2.5, "1.3 to 1.6 on a busy machine; a sync to disk may wait for another's"),
    UPDATE: Limit(2.5, "as for a creation"),
    BURST: Limit(2.5, "0.9 to 1.3 alone; both cores are busy, so other programs slow both down unevenly"),
    BURST_INDEXED: Limit(2.5, "1.0 to 1.6 in five seconds, less in half of one; as for a burst"),
    CREATE_FAR: Limit(2.0, "1.1 to 1.2 alone"),
    FIRST_PAGE: Limit(2.0, "1.2 to 1.6 alone"),
    FIFTH_PAGE: Limit(2.0, "1.2 to 1.6 alone"),
    FLAT: Limit(2.0, "1.0 to 1.3 alone; one page of 20 beside one of 21 threads"),
    GET: Limit(2.0, "0.4 to 0.6 alone"),
    VOTED: Limit(2.0, "1.4 to 1.9 alone"),
    SEARCH: Limit(2.0, "0.4 to 1.5 alone"),
    SEARCH_CJK: Limit(2.0, "as for a rare word"),
}
TURN_STATEMENTS = 6
ANSWERS_OF = (10_000, 50_000)
"""The threads of the short and the long history, with one answer each. Counts stop at the size of the short one."""
ANSWERS_LIMIT = 3.0
"""0.7 to 1.4 alone; linear growth would be 5."""
CALLS = 20_000
CALLS_MARGIN = 1.5
"""0.8 to 1.0 of bare SQL alone; the budget is 2."""
PAGES_MB = 4.0
"""The budget is +0 MB; the allocator takes memory by the megabyte."""


async def test_the_layer_stays_near_the_floor(postgres: Databases) -> None:
    missed: dict[str, list[float]] = {}
    for _ in range(TRIES):
        size = await measure.measure_size(
            postgres, THREADS, rounds=ROUNDS, kinds=(FLOOR, OURS), sustained_seconds=SUSTAINED_SECONDS
        )
        assert not _wrong_answers(size)
        judged = missed or LIMITS
        # Without trigrams on the server, the floor cannot search.
        ratios = {what: ratio for what in judged if (ratio := size.ratio(what, OURS)) is not None}
        missed = {
            what: [*missed.get(what, []), ratio]
            for what, ratio in ratios.items()
            if LIMITS[what].misses(BUDGETS[what], ratio)
        }
        if not missed:
            break
    assert missed == {}


def _wrong_answers(size: measure.Size) -> dict[tuple[str, str], str]:
    return {(what, kind): one.wrong for what, found in size.results.items() for kind, one in found.items() if one.wrong}


def test_every_limit_is_wider_than_its_budget() -> None:
    for what, limit in LIMITS.items():
        assert not limit.misses(BUDGETS[what], BUDGETS[what].ratio)


async def test_a_step_is_written_in_one_statement_and_one_round_trip(postgres: Databases) -> None:
    url = postgres.create()
    try:
        await fill(url, OURS, 20)
        assert await statements.count(url, OURS) == (1, 1)
        assert (await statements.count(url, OURS, turn=True))[0] <= TURN_STATEMENTS
    finally:
        postgres.drop(url)


async def test_listing_page_after_page_takes_no_memory(postgres: Databases) -> None:
    if sys.platform != "linux":
        missing.skip_or_fail(
            "MEMORY: only Linux reports the memory of a process, so the budget of listing was not checked"
        )
    url = postgres.create()
    try:
        await fill(url, OURS, THREADS)
        found = await memory.measure_apart(OURS, url)
    finally:
        postgres.drop(url)
    assert found["pages"] == memory.PAGES
    assert found["process"] < PAGES_MB
    assert found["kept"] < 1


async def test_the_cost_of_a_page_of_answers_does_not_grow_with_the_history(postgres: Databases) -> None:
    missed: list[dict[str, float]] = []
    for _ in range(TRIES):
        found = await review.measure(postgres, *ANSWERS_OF, answers=1, rounds=ROUNDS)
        ratios = {name: one[review.LONG].value / one[review.SHORT].value for name, one in found.items()}
        missed.append({name: ratio for name, ratio in ratios.items() if ratio > ANSWERS_LIMIT})
        if not missed[-1]:
            return
    pytest.fail(f"{missed}")


async def test_a_month_of_calls_by_day_stays_near_bare_sql(postgres: Databases, tmp_path: Path) -> None:
    missed = []
    for _ in range(TRIES):
        url = postgres.create()
        try:
            found = await usage.measure_postgresql(url, CALLS, rounds=ROUNDS)
        finally:
            postgres.drop(url)
        assert not found.wrong
        if found.ratio(BY_DAY) <= MOST_TIMES * CALLS_MARGIN:
            break
        missed.append(found.ratio(BY_DAY))
    assert len(missed) < TRIES, missed
    assert not (await usage.measure_sqlite(tmp_path / "calls.db", CALLS, rounds=1)).wrong


async def test_the_proxy_counts_the_statements_of_a_driver(postgres: Databases) -> None:
    """A transaction of two statements counts as four, with BEGIN and COMMIT."""
    with Wire(postgres.server_url) as wire:
        connection = await asyncpg.connect(wire.url)
        prepared = await connection.prepare("SELECT 1")
        wire.reset()
        async with connection.transaction():
            await prepared.fetch()
            await prepared.fetch()
        counted = (wire.statements, wire.round_trips)
        await connection.close()
    assert counted == (4, 4)


async def test_the_proxy_adds_the_configured_delay(postgres: Databases) -> None:
    with Wire(postgres.server_url, delay_seconds=0.02) as wire:
        connection = await asyncpg.connect(wire.url)
        begun = time.perf_counter()
        await connection.execute("SELECT 1")
        taken = time.perf_counter() - begun
        await connection.close()
    assert taken >= 0.02
