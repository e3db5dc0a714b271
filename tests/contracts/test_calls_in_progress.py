"""Calls in progress: a row before the answer, so that a call whose process ends is not lost."""

from dataclasses import replace

from datalayer import CallFilter
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
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
    await layer.begin_call(made, seconds=60)
    assert (await stored(layer, made)).finish_reason == IN_PROGRESS
    assert not (await stored(layer, made)).has_failed
    assert await layer.end_interrupted_calls() == 0
    ended = replace(made, status_code=200, finish_reason="stop", prompt_tokens=3, completion_tokens=2)
    await layer.record_call(ended)
    await layer.release(made.id)
    assert await layer.end_interrupted_calls() == 0
    found = await stored(layer, made)
    assert (found.status_code, found.finish_reason, found.prompt_tokens) == (200, "stop", 3)
    assert (await layer.usage_totals(CallFilter())).calls == 1


async def test_calls_of_a_process_that_ended_are_marked(layer: ChainlitLayer) -> None:
    lost, held, later = (call(utc_now(), status_code=None) for _ in range(3))
    await layer.begin_call(lost, seconds=-1)
    for made in (held, later):
        await layer.begin_call(made, seconds=-1)
    await layer.extend_calls([held.id, later.id], seconds=60)
    assert await layer.end_interrupted_calls() == 1
    marked = await stored(layer, lost)
    assert (marked.error_kind, marked.finish_reason, marked.prompt_tokens) == (INTERRUPTED, None, None)
    assert marked.error_message is not None
    assert (await stored(layer, held)).finish_reason == IN_PROGRESS
    # Another call that ends clears expired reservations; a call is marked all the same.
    await layer.extend_calls([later.id], seconds=-1)
    await layer.release(held.id)
    assert await layer.end_interrupted_calls() == 2
    assert (await stored(layer, later)).error_kind == INTERRUPTED


async def test_what_was_reserved_for_the_budget_stays_reserved(layer: ChainlitLayer) -> None:
    alice = await user_id(layer, "alice")
    await layer.put_limit(limit(100))
    asked = demand(alice, 10, 50)
    assert isinstance(await reserve(layer, asked), Reservation)
    await layer.begin_call(call(utc_now(), id=asked.call_id, user_id=alice), seconds=60)
    (standing,) = await layer.limit_standings(alice, None, zone="UTC")
    assert standing.in_flight == 60
