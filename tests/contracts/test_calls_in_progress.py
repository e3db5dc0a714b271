"""Calls in progress: a row before the answer, so that a call whose process ends is not lost."""

from dataclasses import replace
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest

from datalayer import CallFilter
from datalayer.billing.spending import Budget, Spending, Spent
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in, utc_now
from datalayer.records.usage import IN_PROGRESS, INTERRUPTED, LlmCall, Reservation
from tests.contracts.test_billing import demand, limit, reserve
from tests.support.calls import call
from tests.support.records import user_id


async def stored(layer: ChainlitLayer, made: LlmCall) -> LlmCall:
    found = await layer.get_call(made.id)
    assert found is not None
    return found[0].call


async def test_a_call_is_in_progress_until_it_is_recorded(layer: ChainlitLayer) -> None:
    made = call(utc_now(), status_code=None)
    await layer.begin_call(made)
    assert (await stored(layer, made)).finish_reason == IN_PROGRESS
    assert not (await stored(layer, made)).has_failed
    assert await layer.end_interrupted_calls() == 0
    ended = replace(made, status_code=200, finish_reason="stop", prompt_tokens=3, completion_tokens=2)
    await layer.record_call(ended)
    await layer.extend_calls([made.id], seconds=60)
    await layer.release(made.id)
    assert await layer.end_interrupted_calls() == 0
    found = await stored(layer, made)
    assert (found.status_code, found.finish_reason, found.prompt_tokens) == (200, "stop", 3)
    assert (await layer.usage_totals(CallFilter())).calls == 1


async def test_calls_of_a_process_that_ended_are_marked(layer: ChainlitLayer) -> None:
    lost, held, later = (call(utc_in(-31), status_code=None) for _ in range(3))
    young = call(utc_now(), status_code=None)
    for made in (lost, held, later, young):
        await layer.begin_call(made)
    await layer.extend_calls([held.id, later.id], seconds=60)
    assert await layer.end_interrupted_calls() == 1
    marked = await stored(layer, lost)
    assert (marked.error_kind, marked.finish_reason, marked.prompt_tokens) == (INTERRUPTED, None, None)
    assert marked.error_message is not None
    assert (await stored(layer, held)).finish_reason == (await stored(layer, young)).finish_reason == IN_PROGRESS
    await layer.extend_calls([later.id, held.id], seconds=-1)
    # Another call that ends clears expired reservations. One whose process lives after all gets it again.
    await layer.release(lost.id)
    await layer.extend_calls([held.id], seconds=60)
    assert await layer.end_interrupted_calls() == 1
    assert (await stored(layer, later)).error_kind == INTERRUPTED
    assert (await stored(layer, held)).finish_reason == IN_PROGRESS


async def test_what_was_reserved_for_the_budget_stays_reserved(layer: ChainlitLayer) -> None:
    alice = await user_id(layer, "alice")
    await layer.put_limit(limit(100))
    asked = demand(alice, 10, 50)
    assert isinstance(await reserve(layer, asked), Reservation)
    await layer.begin_call(call(utc_now(), id=asked.call_id, user_id=alice))
    await layer.extend_calls([asked.call_id], seconds=60)
    (standing,) = await layer.limit_standings(alice, None, zone="UTC")
    assert standing.in_flight == 60


async def test_a_sum_that_is_remembered_ends_before_a_call_in_progress(layer: ChainlitLayer) -> None:
    """Its tokens come after the sum of the time at which it began."""
    alice = await user_id(layer, "alice")
    budget = Budget("user", alice, "tokens", "2020-01-01T00:00:00.000000Z")
    before, long, after = (call(utc_in(-seconds), user_id=alice, prompt_tokens=20) for seconds in (3_000, 2_000, 1_000))
    for made in (before, after):
        await layer.record_call(made)
    await layer.begin_call(replace(long, prompt_tokens=None))
    remembered = await Spending().so_far(layer.database, [budget])
    assert remembered == {budget: Spent(long.requested_at, Decimal(20))}
    await layer.record_call(long)
    remembered = await Spending().so_far(layer.database, [budget])
    assert remembered[budget].until > after.requested_at
    assert remembered[budget].amount == 60


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_only_the_begin_of_a_call_does_not_wait_for_the_disk(layer: ChainlitLayer) -> None:
    await layer.record_call(call(utc_now()))
    writes = layer.database.dialect.single_writes
    assert writes is not None
    await writes.execute_once("SELECT set_config('synchronous_commit', 'on', false)", [])
    seen: list[tuple[Any, ...]] = []
    execute = writes.execute_once

    async def watched(sql: str, values: Any) -> Any:
        rows = await execute(sql, values)
        seen.extend(tuple(row) for row in rows)
        return rows

    with patch.object(writes, "execute_once", watched):
        await layer.begin_call(call(utc_now(), status_code=None))
        await layer.record_call(call(utc_now()))
    assert seen == [("off",)]
    assert [tuple(row) for row in await writes.execute_once("SHOW synchronous_commit", [])] == [("on",)]
