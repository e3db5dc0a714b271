"""The budgets in short, as ratios to the floor that was measured in the same seconds on the same server.

The limits leave room for a busy machine: they catch what became several times slower, and `make bench` tells the rest.
"""

import time

import asyncpg
import pytest

from benchmarks import measure
from benchmarks.contenders import fill
from benchmarks.measure import BURST, CREATE, FIFTH_PAGE, FIRST_PAGE, GET, VOTED
from benchmarks.wire import Wire
from tests.postgres import Databases

pytestmark = pytest.mark.slow

MOST = {CREATE: 5.0, FIRST_PAGE: 15.0, FIFTH_PAGE: 15.0, GET: 8.0, VOTED: 15.0}
LEAST_BURST = 0.4


async def test_our_layer_stays_near_the_floor(postgres: Databases) -> None:
    size = await measure.measure_size(postgres, 1000, rounds=15, kinds=("floor", "ours"))
    wrong = {
        (what, kind): one.wrong for what, found in size.results.items() for kind, one in found.items() if one.wrong
    }
    assert wrong == {}
    ratios = {what: size.ratio(what, "ours") or 0 for what in MOST}
    assert {what: ratio for what, ratio in ratios.items() if ratio > MOST[what]} == {}
    assert (size.ratio(BURST, "ours") or 0) >= LEAST_BURST


async def test_a_step_is_written_in_one_statement_and_one_round_trip(postgres: Databases) -> None:
    url = postgres.create()
    try:
        await fill(url, "ours", 20)
        assert await measure.count_statements(url, "ours") == (1, 1)
    finally:
        postgres.drop(url)


async def test_the_proxy_counts_what_a_driver_asks(postgres: Databases) -> None:
    """BEGIN and COMMIT included, and what was asked by a transaction of two statements."""
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


async def test_the_proxy_adds_the_time_it_is_told_to(postgres: Databases) -> None:
    with Wire(postgres.server_url, delay_seconds=0.02) as wire:
        connection = await asyncpg.connect(wire.url)
        begun = time.perf_counter()
        await connection.execute("SELECT 1")
        taken = time.perf_counter() - begun
        await connection.close()
    assert taken >= 0.02
