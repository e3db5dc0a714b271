"""The check of all calls reports rows that were changed outside the library, and nothing else."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import delete, update

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import CallFilter, LlmCall, LlmCallPayload, UsageTotals
from datalayer.schema.chat import threads, users
from datalayer.schema.usage import llm_calls
from datalayer.usage import statistics
from datalayer.usage.verify import UsageProblem, costs_by
from tests.support.calls import call
from tests.support.records import thread, user_id

PRICE = {"source": "own prices", "input": "2.5", "cached": "1.25", "output": "10"}


def priced(**fields: Any) -> LlmCall:
    record = call(prompt_tokens=1_000, cached_tokens=400, completion_tokens=600, price=PRICE, **fields)
    return replace(record, input_cost=Decimal("0.002"), output_cost=Decimal("0.006"), total_cost=Decimal("0.008"))


async def problems(layer: ChainlitLayer, *, repair: bool = False) -> list[UsageProblem]:
    listed: list[UsageProblem] = []
    report = await layer.verify_usage(repair=repair, found=listed.append)
    assert report.is_compared
    assert report.problems.total() == len(listed)
    assert report.left == sum(not one.repaired for one in listed)
    return listed


def test_a_cost_is_tokens_times_the_stored_price() -> None:
    assert costs_by(PRICE, priced()) == (Decimal("0.002"), Decimal("0.006"))
    assert costs_by({"input": "2.5", "output": "10"}, priced()) == (Decimal("0.0025"), Decimal("0.006"))
    more = {**PRICE, "image": "0.5", "images": 2, "request": "0.01"}
    assert costs_by(more, priced()) == (Decimal("1.012"), Decimal("0.006"))
    assert costs_by(PRICE, call()) == (Decimal(0), Decimal(0))


async def test_correct_calls_have_no_problems(layer: ChainlitLayer) -> None:
    assert await problems(layer) == []
    owner = await user_id(layer, "alice")
    thread_id = await thread(layer, owner)
    for record in (
        *(priced(user_id=owner, thread_id=thread_id) for _ in range(3)),
        call(prompt_tokens=5),
        call(status_code=500, error_kind="Down"),
        call(input_cost=Decimal(0), output_cost=Decimal(0), total_cost=Decimal(0), error_kind="Down"),
    ):
        await layer.record_call(record)
    assert await problems(layer) == []
    report = await layer.verify_usage()
    shown = await layer.usage_totals(CallFilter())
    assert report.calls == shown.calls == 6
    assert report.totals.total_cost == shown.total_cost == Decimal("0.024")
    assert report.totals.total_tokens == shown.total_tokens == 4_805


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"completionTokens": 601}, "cost"),
        ({"inputCost": Decimal("0.003"), "totalCost": Decimal("0.009")}, "cost"),
        ({"inputCost": Decimal("0.002000000999"), "totalCost": Decimal("0.008000000999")}, None),
        ({"inputCost": Decimal("0.002000001001"), "totalCost": Decimal("0.008000001001")}, "cost"),
        ({"totalCost": Decimal("0.008000000001")}, "total"),
        ({"inputCost": None}, "total"),
        ({"price": {"input": "cheap"}}, "cost"),
        ({"price": ["no price"]}, "cost"),
        ({"price": None}, None),
    ],
)
async def test_a_changed_cost_is_reported(layer: ChainlitLayer, change: dict[str, Any], kind: str | None) -> None:
    record = priced()
    await layer.record_call(record)
    await layer.record_call(priced())
    async with layer.database.write() as connection:
        await connection.execute(update(llm_calls).where(llm_calls.c.id == record.id).values(**change))
    assert [(one.kind, one.call_id) for one in await problems(layer)] == ([(kind, record.id)] if kind else [])


NO_TOKENS = {"promptTokens": 0, "completionTokens": 0, "cachedTokens": None, "reasoningTokens": None}
COSTS_NOTHING = dict.fromkeys(("inputCost", "outputCost", "totalCost"), Decimal(0))
NO_EMBEDDING_TOKENS: dict[str, Any] = {
    "kind": "embedding",
    **NO_TOKENS,
    "queryCharacters": 7,
    "price": None,
    **COSTS_NOTHING,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reasoningTokens": 601}, ["601 reasoning tokens are more than the 600 output tokens that contain them"]),
        ({"reasoningTokens": 600, "cachedTokens": 1_000, "inputCost": None, "outputCost": None, "totalCost": None}, []),
        ({"cachedTokens": 1_001, "price": None}, ["1001 cached tokens are more than the 1000 input tokens"]),
        ({"completionTokens": 0, "responseCharacters": 7, "price": None}, ["no output tokens for an answer with 7"]),
        (
            {"promptTokens": 0, "cachedTokens": 0, "queryCharacters": 7, "price": None},
            ["no input tokens for a question"],
        ),
        # The embedding model of this machine counts none; a server that counts none does not report them.
        ({**NO_EMBEDDING_TOKENS, "provider": "embedded"}, []),
        ({**NO_EMBEDDING_TOKENS, "provider": "ollama"}, ["no input tokens for a question"]),
        ({"promptTokens": None, "completionTokens": None, "responseCharacters": 7, "price": None}, []),
        ({"completionTokens": 0, "price": None}, []),
        ({"completionTokens": 10, "reasoningTokens": 94}, ["94 reasoning tokens", "the output cost is 0.006"]),
    ],
)
async def test_tokens_that_contradict_each_other_are_reported(
    layer: ChainlitLayer, change: dict[str, Any], words: list[str]
) -> None:
    """Also in rows of older versions, which stored the reports of servers as they came."""
    record = priced()
    await layer.record_call(record)
    await layer.record_call(priced())
    async with layer.database.write() as connection:
        await connection.execute(update(llm_calls).where(llm_calls.c.id == record.id).values(**change))
    found = await problems(layer)
    assert [one.call_id for one in found] == [record.id] * len(words)
    assert all(part in one.words for part, one in zip(words, found, strict=True))
    assert [one.kind for one in found] == ["tokens", "cost"][: len(words)]


async def test_totals_that_differ_from_the_rows_are_reported(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await layer.record_call(priced())
    shown = statistics.totals

    async def other(*given: Any) -> UsageTotals:
        return replace(await shown(*given), total_cost=Decimal("0.007"), calls=2)

    monkeypatch.setattr(statistics, "totals", other)
    assert [(one.kind, one.words) for one in await problems(layer)] == [
        ("sums", "calls: the statistics show 2, and the rows add up to 1"),
        ("sums", "total cost: the statistics show 0.007, and the rows add up to 0.008000000000"),
    ]


async def test_dangling_ids_of_calls_are_reported_and_repaired(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    record = priced(user_id=owner, thread_id=await thread(layer, owner))
    await layer.record_call(record, LlmCallPayload(record.id, [], "answer"))
    async with layer.database.write() as connection:
        await connection.execute(delete(threads))
        await connection.execute(delete(users))
    assert [one.kind for one in await problems(layer)] == ["nowhere", "nowhere"]
    assert all(one.repaired for one in await problems(layer, repair=True))
    assert await problems(layer) == []
    found = await layer.get_call(record.id)
    assert found is not None
    assert (found[0].call.user_id, found[0].call.thread_id, found[1]) == (None, None, None)


async def test_a_user_cannot_check_all_calls(layer: ChainlitLayer) -> None:
    with datalayer.acting_as("alice"), pytest.raises(datalayer.Forbidden):
        await layer.verify_usage()
