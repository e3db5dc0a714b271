"""Calls to models are stored once, and their totals are exact and equal on both engines."""

import asyncio
import base64
import itertools
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

import datalayer
from datalayer import InvalidRecord
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cursors import encode
from datalayer.records.billing import CalledModel
from datalayer.records.usage import CallFilter, LlmCallPayload, UsageGroup, UsageTotals
from tests.support.calls import MORNING, call
from tests.support.records import new_id, thread, user_id

EVERYTHING = CallFilter()
DAY = CallFilter("2026-03-10T00:00:00Z", "2026-03-11T00:00:00Z")


def at(clock: str, day: str = "2026-03-10") -> str:
    return f"{day}T{clock}Z"


async def test_a_call_is_read_back_unchanged_with_names_of_user_and_project(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    thread_id = await thread(layer, owner)
    record = call(
        user_id=owner,
        thread_id=thread_id,
        step_id=new_id(),
        responded_at=at("12:00:02"),
        deployment="eu",
        assistant="Helper",
        answered_by="gpt-x-2026",
        attempt=2,
        is_streaming=True,
        error_kind="RateLimit",
        error_message="slow \x00down",
        finish_reason="stop",
        prompt_tokens=1_000,
        completion_tokens=600,
        cached_tokens=7,
        reasoning_tokens=8,
        is_estimated=True,
        query_characters=9,
        response_characters=10,
        seconds=2.0,
        first_token_seconds=0.25,
        input_cost=Decimal("0.0025"),
        output_cost=Decimal("0.006"),
        total_cost=Decimal("0.0085"),
        price={"source": "own", "input": Decimal("2.5")},
        tags=("a", "b", "a"),
        library="openai 3",
        operating_system="Linux",
    )
    payload = LlmCallPayload(record.id, [{"role": "user", "content": "hi \ud800"}], "hello")
    await layer.record_call(record, payload)
    found = await layer.get_call(record.id)
    assert found is not None
    row, stored_payload = found
    assert (row.user, row.project) == ("alice", None)
    assert stored_payload == LlmCallPayload(
        record.id, [{"role": "user", "content": "hi \N{REPLACEMENT CHARACTER}"}], "hello"
    )
    kept = row.call
    assert kept.error_message == "slow \N{REPLACEMENT CHARACTER}down"
    assert (kept.price, kept.tags) == ({"source": "own", "input": "2.5"}, ("a", "b"))
    assert (kept.tokens_per_second, kept.requested_at) == (300.0, MORNING)
    same = {"error_message", "price", "tags", "tokens_per_second", "responded_at"}
    for name in set(record.__slots__) - same:
        assert getattr(kept, name) == getattr(record, name), name


async def test_a_call_is_stored_once_with_its_newest_state(layer: ChainlitLayer) -> None:
    one = call(prompt_tokens=10, total_cost=Decimal("0.5"))
    newer = call(id=one.id, prompt_tokens=30, status_code=None, model="other")
    await asyncio.gather(*(layer.record_call(record) for record in (one, newer, one, newer)))
    found = await layer.usage_totals(EVERYTHING)
    assert (found.calls, found.prompt_tokens, found.total_cost) == (1, 30, Decimal(0))
    assert [group.value for group in await layer.usage_by(EVERYTHING, "model")] == ["other"]


async def test_a_series_of_five_minute_intervals(layer: ChainlitLayer) -> None:
    times = ["12:00:00", "12:01:30", "12:04:59.999999", "12:07:00", "12:10:00", "12:14:59", "12:20:00", "11:59:59"]
    for time in times:
        await layer.record_call(call(at(time)))
    found = await layer.usage_series(CallFilter(at("12:00:00"), at("12:20:00")), "5 minutes", "UTC")
    assert [bucket.totals.calls for bucket in found] == [3, 1, 2, 0]
    assert found[0].start == MORNING
    assert all(before.end == after.start for before, after in itertools.pairwise(found))


async def test_totals_are_exact_and_failed_calls_count_without_a_cost(layer: ChainlitLayer) -> None:
    tiny = Decimal("0.000000000001")
    for number in range(10):
        await layer.record_call(
            call(
                prompt_tokens=3,
                completion_tokens=600,
                cached_tokens=2,
                reasoning_tokens=1,
                seconds=2.0,
                first_token_seconds=(number + 1) / 100,
                input_cost=tiny,
                output_cost=Decimal(number),
                total_cost=Decimal(number) + tiny,
                is_estimated=number == 0,
            )
        )
    await layer.record_call(call(status_code=429, error_kind="RateLimit", seconds=0.5))
    await layer.record_call(call(prompt_tokens=5))
    assert await layer.usage_totals(EVERYTHING) == UsageTotals(
        calls=12,
        failed=1,
        unpriced=1,
        estimated=1,
        prompt_tokens=35,
        completion_tokens=6_000,
        cached_tokens=20,
        reasoning_tokens=10,
        input_cost=10 * tiny,
        output_cost=Decimal(45),
        total_cost=45 + 10 * tiny,
        mean_seconds=pytest.approx(20.5 / 11),  # type: ignore[arg-type]
        mean_tokens_per_second=300.0,
        mean_first_token_seconds=pytest.approx(0.055),  # type: ignore[arg-type]
        first_token_p50=0.05,
        first_token_p95=0.1,
    )
    assert (await layer.usage_totals(EVERYTHING)).error_rate == pytest.approx(1 / 12)


async def test_without_calls_all_totals_are_zero(layer: ChainlitLayer) -> None:
    assert await layer.usage_totals(EVERYTHING) == UsageTotals()
    assert await layer.usage_by(EVERYTHING, "tag") == []
    assert [one.totals for one in await layer.usage_series(DAY, "hour", "UTC")] == [UsageTotals()] * 24
    assert (await layer.list_calls(EVERYTHING)).rows == ()


async def test_groups_come_by_pages_with_the_sums_of_the_rest(layer: ChainlitLayer) -> None:
    whose = [await user_id(layer, name) for name in ("alice", "bob", "carol", "dave", "eve")]
    for at, one in enumerate(whose, 1):
        for tokens in range(at):
            await layer.record_call(
                call(user_id=one, total_cost=Decimal(at) / 8, prompt_tokens=tokens, completion_tokens=1)
            )
    await layer.record_call(call(status_code=503, error_kind="Down"))
    whole = await layer.usage_by(EVERYTHING, "user", percentiles=False)
    for order in ("cost", "calls", "tokens", "failed", "seconds", "name"):
        in_order = await layer.usage_by(EVERYTHING, "user", order=order, percentiles=False)
        cursor: str | None = None
        found: list[UsageGroup] = []
        while True:
            page = await layer.page_of_usage(EVERYTHING, "user", order=order, cursor=cursor, limit=2)
            found += page.groups
            behind = in_order[len(found) :]
            assert (page.count, page.more) == (len(whole), len(behind))
            for name in ("calls", "failed", "unpriced", "prompt_tokens", "completion_tokens", "total_cost"):
                sums = sum((getattr(one.totals, name) for one in behind), start=Decimal(0))
                assert getattr(page.rest, name) == sums, (order, name)
            assert page.rest.mean_seconds is None
            if (cursor := page.next_cursor) is None:
                break
        assert found == in_order
    beyond = await layer.page_of_usage(EVERYTHING, "user", cursor=encode("usage", "user", "cost", "500"), limit=2)
    assert (beyond.groups, beyond.count, beyond.next_cursor) == ((), len(whole), None)
    nothing = await layer.page_of_usage(CallFilter(models=("none",)), "tag")
    assert (nothing.groups, nothing.count, nothing.rest.calls) == ((), 0, 0)
    for wrong in ("x", "-1", "1e3", "٣", "9" * 20):
        with pytest.raises(InvalidRecord, match="cursor"):
            await layer.page_of_usage(EVERYTHING, "user", cursor=wrong)
    with pytest.raises(InvalidRecord, match="limit"):
        await layer.page_of_usage(EVERYTHING, "user", limit=0)
    with pytest.raises(InvalidRecord, match="order"):
        await layer.page_of_usage(EVERYTHING, "user", order="colour")


async def test_totals_by_each_dimension_with_names(layer: ChainlitLayer) -> None:
    alice, bob = await user_id(layer, "alice"), await user_id(layer, "bob")
    given: list[dict[str, Any]] = [
        {"user_id": alice, "model": "m1", "assistant": "A", "tags": ("x", "y"), "total_cost": Decimal(3)},
        {"user_id": alice, "model": "m2", "provider": None, "tags": ("y",), "total_cost": Decimal(1)},
        {"user_id": bob, "model": "m2", "kind": "title", "status_code": 503, "error_kind": "Down"},
        {"status_code": None, "error_kind": "Timeout", "first_token_seconds": 0.125},
    ]
    for fields in given:
        await layer.record_call(call(**fields))

    async def found(dimension: Any, order: str = "cost") -> list[tuple[str | None, str | None, int]]:
        groups = await layer.usage_by(EVERYTHING, dimension, order=order)
        return [(one.value, one.name, one.totals.calls) for one in groups]

    assert await found("user") == [(alice, "alice", 2), (bob, "bob", 1), (None, None, 1)]
    assert await found("user", "name") == [(alice, "alice", 2), (bob, "bob", 1), (None, None, 1)]
    assert await found("model") == [("m1", "m1", 1), ("m2", "m2", 2), ("gpt-x", "gpt-x", 1)]
    assert await found("model", "calls") == [("m2", "m2", 2), ("gpt-x", "gpt-x", 1), ("m1", "m1", 1)]
    assert await found("provider") == [("openai", "openai", 3), (None, None, 1)]
    assert await found("project") == [(None, None, 4)]
    assert await found("assistant") == [("A", "A", 1), (None, None, 3)]
    assert await found("kind") == [("chat", "chat", 3), ("title", "title", 1)]
    assert await found("status") == [("2", "2", 2), ("0", "0", 1), ("5", "5", 1)]
    assert await found("tag") == [("y", "y", 2), ("x", "x", 1), (None, None, 2)]
    groups = {one.value: one.totals for one in await layer.usage_by(EVERYTHING, "status", order="failed")}
    assert [groups[one].failed for one in ("2", "5", "0")] == [0, 1, 1]
    assert [groups[one].first_token_p95 for one in ("2", "5", "0")] == [None, None, 0.125]


FIELDS_OF_THE_FILTER = [
    (CallFilter(models=("m1",)), 1),
    (CallFilter(models=("m1", "m2")), 2),
    (CallFilter(tags=("x", "nobody's")), 2),
    (CallFilter(tags=("x",), models=("m2",)), 1),
    (CallFilter(all_tags=("x",)), 2),
    (CallFilter(all_tags=("x", "y")), 1),
    (CallFilter(all_tags=("x", "nobody's")), 0),
    (CallFilter(provider_models=("openai.m1", "openai.m2")), 2),
    (CallFilter(provider_models=("openai",)), 0),
    (CallFilter(project_slugs=("default", "nobody's")), 0),
    (CallFilter(statuses=(5, 0)), 2),
    (CallFilter(kinds=("title",)), 1),
    (CallFilter(providers=("openai",)), 4),
    (CallFilter(user_ids=("no id",)), 0),
    (CallFilter(project_ids=(new_id(),)), 0),
    (CallFilter(since="2026-03-10T13:00:00+01:00", until="2026-03-10T12:00:00.000001Z"), 4),
    (CallFilter(until=MORNING), 0),
]


async def test_each_field_of_the_filter(layer: ChainlitLayer, subtests: pytest.Subtests) -> None:
    for fields in (
        {"model": "m1", "tags": ("x",)},
        {"model": "m2", "tags": ("y", "x"), "status_code": 500},
        {"status_code": None},
        {"kind": "title"},
    ):
        await layer.record_call(call(**fields))
    for which, count in FIELDS_OF_THE_FILTER:
        with subtests.test(which=which):
            assert (await layer.usage_totals(which)).calls == count
            assert len((await layer.list_calls(which)).rows) == count
            assert len([one async for one in layer.export_calls(which)]) == count
            assert sum(one.totals.calls for one in await layer.usage_by(which, "kind")) == count


async def test_users_see_only_their_own_calls(layer: ChainlitLayer) -> None:
    alice, bob = await user_id(layer, "alice"), await user_id(layer, "bob")
    mine, theirs, nobodys = call(user_id=alice), call(user_id=bob), call()
    for record in (mine, theirs, nobodys):
        await layer.record_call(record, LlmCallPayload(record.id, [], "said"))

    async def seen() -> set[str]:
        """The calls by every method that shows them; all must agree."""
        listed = {row.call.id for row in (await layer.list_calls(EVERYTHING)).rows}
        assert {row.call.id async for row in layer.export_calls(EVERYTHING)} == listed
        assert {record.id for record in (mine, theirs, nobodys) if await layer.get_call(record.id)} == listed
        assert (await layer.usage_totals(EVERYTHING)).calls == len(listed)
        assert sum(one.totals.calls for one in await layer.usage_by(EVERYTHING, "user")) == len(listed)
        assert sum(one.totals.calls for one in await layer.usage_series(DAY, "day", "UTC")) == len(listed)
        return listed

    assert await seen() == {mine.id, theirs.id, nobodys.id}
    for actor, ids in (("alice", {mine.id}), ("bob", {theirs.id}), ("nobody", set()), (None, set())):
        with datalayer.acting_as(actor):
            assert await seen() == ids
            assert (await layer.usage_totals(CallFilter(user_ids=(bob,)))).calls == len(ids & {theirs.id})
            with pytest.raises(datalayer.Forbidden):
                await layer.forget_payloads("2027-01-01T00:00:00Z")
    with datalayer.acting_as("alice"):
        export = layer.export_calls(EVERYTHING)
    assert {row.call.id async for row in export} == {mine.id}


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("order", ["requested_at", "cost", "tokens", "seconds"])
async def test_pages_in_any_order_contain_each_call_once(layer: ChainlitLayer, order: str, descending: bool) -> None:
    records = [
        call(
            at(f"12:00:{number % 4:02}"),
            total_cost=None if number % 3 == 0 else Decimal(number % 5) / 7,
            prompt_tokens=None if number % 4 == 0 else number % 2,
            seconds=None if number % 5 == 0 else number % 3 / 3,
        )
        for number in range(23)
    ]
    await asyncio.gather(*map(layer.record_call, records))
    found, cursor = [], None
    while True:
        page = await layer.list_calls(EVERYTHING, order=order, descending=descending, cursor=cursor, limit=5)
        found += [row.call for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            break
        assert len(page.rows) == 5
    assert len(found) == 23
    assert {one.id for one in found} == {one.id for one in records}
    place: dict[str, Any] = {
        "requested_at": lambda one: one.requested_at,
        "cost": lambda one: -1 if one.total_cost is None else one.total_cost,
        "tokens": lambda one: one.prompt_tokens or 0,
        "seconds": lambda one: -1 if one.seconds is None else one.seconds,
    }
    places = [(place[order](one), one.id) for one in found]
    assert places == sorted(places, reverse=descending)


async def test_an_export_contains_every_call_in_order(layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datalayer.usage.calls._EXPORTED_AT_ONCE", 3)
    records = [call(at(f"12:00:{number % 5:02}")) for number in range(9)]
    await asyncio.gather(*map(layer.record_call, records))
    exported = [row.call.id async for row in layer.export_calls(EVERYTHING)]
    assert exported == [one.id for one in sorted(records, key=lambda one: (one.requested_at, one.id))]


async def test_invalid_calls_are_refused_and_reported(
    database_url: str, layer: ChainlitLayer, caplog: pytest.LogCaptureFixture
) -> None:
    bad: list[dict[str, Any]] = [
        {"prompt_tokens": -1},
        {"completion_tokens": 10**13},
        {"cached_tokens": 1.5},
        {"query_characters": -1},
        {"seconds": float("nan")},
        {"first_token_seconds": float("inf")},
        {"tokens_per_second": -0.1},
        {"total_cost": Decimal("NaN")},
        {"total_cost": Decimal("-0.1")},
        {"input_cost": Decimal(10) ** 9},
        {"user_id": "no id"},
        {"id": "no id"},
        {"requested_at": ""},
        {"requested_at": "yesterday"},
        {"status_code": 99_999},
        {"attempt": 0},
        {"model": ""},
        {"price": [1]},
    ]
    for fields in bad:
        with pytest.raises(datalayer.InvalidRecord):
            await layer.record_call(call(**fields))
    assert caplog.text.count("call was not stored") == len(bad)
    with pytest.raises(datalayer.InvalidRecord):
        await layer.record_call(call(), LlmCallPayload(new_id(), None, None))
    assert (await layer.usage_totals(EVERYTHING)).calls == 0


def cursor(order: str, place: str) -> dict[str, str]:
    """Arguments for a page in this order, with a cursor that no page returned."""
    return {
        "order": order,
        "cursor": base64.urlsafe_b64encode(json.dumps(["calls", order, place, new_id()]).encode()).decode(),
    }


INVALID: list[Callable[[Any], Any]] = [
    lambda layer: layer.usage_totals(CallFilter(since="soon")),
    lambda layer: layer.usage_series(CallFilter(since=MORNING), "day", "UTC"),
    lambda layer: layer.usage_series(DAY, "day", "Europe/Nowhere"),
    lambda layer: layer.usage_series(DAY, "day", "../etc/passwd"),
    lambda layer: layer.usage_series(DAY, "fortnight", "UTC"),
    lambda layer: layer.usage_series(DAY, "hour", "UTC", "colour"),
    lambda layer: layer.usage_series(CallFilter("2016-01-01", "2026-01-01"), "hour", "UTC"),
    lambda layer: layer.usage_by(DAY, "colour"),
    lambda layer: layer.usage_by(DAY, "model", order="colour"),
    lambda layer: layer.list_calls(DAY, order="colour"),
    lambda layer: layer.list_calls(DAY, limit=0),
    lambda layer: layer.list_calls(DAY, cursor="no cursor"),
    lambda layer: layer.list_calls(DAY, cursor="WyJjb3N0IiwgIjEiLCAieCJd"),
    *(
        lambda layer, place=place: layer.list_calls(DAY, **cursor(*place))
        for place in (
            ("cost", "NaN"),
            ("cost", "-Infinity"),
            ("cost", "1E+99"),
            ("cost", "1E-99"),
            ("cost", "1E+999999"),
            ("tokens", "9" * 400),
            ("seconds", "nan"),
            ("seconds", "1e999"),
        )
    ),
    lambda layer: layer.list_calls(DAY, cursor=base64.urlsafe_b64encode(b"[" * 1_400).decode()),
    lambda layer: layer.forget_payloads(""),
]


async def test_invalid_filters_orders_and_cursors_are_refused(layer: ChainlitLayer, subtests: pytest.Subtests) -> None:
    for number, ask in enumerate(INVALID):
        with subtests.test(number=number), pytest.raises(datalayer.InvalidRecord):
            await ask(layer)


async def test_percentiles_are_left_out_on_request(layer: ChainlitLayer) -> None:
    await layer.record_call(call(requested_at=at("12:00:00"), first_token_seconds=0.25))
    with_them = await layer.usage_by(EVERYTHING, "model")
    without = await layer.usage_by(EVERYTHING, "model", percentiles=False)
    assert (with_them[0].totals.first_token_p50, without[0].totals.first_token_p50) == (0.25, None)
    series = await layer.usage_series(DAY, "day", "UTC", percentiles=False)
    assert [(one.totals.calls, one.totals.first_token_p50) for one in series] == [(1, None)]


async def test_the_newest_name_that_answered_is_found_for_each_model_and_provider(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    for hour, model, provider, name in (
        (1, "ours", "azure", "gpt-4o"),
        (3, "ours", "azure", "gpt-4o-mini"),
        (2, "ours", "azure", "gpt-4"),
        (4, "ours", "azure", ""),
        (5, "ours", "azure", None),
        (6, "ours", "openai", "other"),
        (7, "theirs", "azure", "another"),
    ):
        moment = at(f"{hour:02}:00:00")
        await layer.record_call(
            call(moment, model=model, provider=provider, answered_by=name, user_id=owner, status_code=200)
        )
    assert await layer.last_answered_by("ours", "azure") == "gpt-4o-mini"
    assert await layer.last_answered_by("Ours", "azure") is None
    assert await layer.last_answered_by("ours\x00", "elsewhere") is None
    with datalayer.acting_as("bob"):
        assert await layer.last_answered_by("ours", "azure") == "gpt-4o-mini"
    many = ["ours", "Ours", "theirs", *(f"model {number}" for number in range(600))]
    found = await layer.last_answered_by_each(many, "azure")
    assert found == {"ours": "gpt-4o-mini", "theirs": "another"}
    assert await layer.last_answered_by_each([], "azure") == {}
    (row,) = [one.call async for one in layer.export_calls(CallFilter(since=at("04:00:00"), until=at("05:00:00")))]
    assert row.answered_by is None


async def test_the_models_of_calls_are_listed_with_their_calls_without_a_cost(layer: ChainlitLayer) -> None:
    at = [f"2026-03-10T12:00:0{second}.000000Z" for second in range(5)]
    answered: dict[str, Any] = {"model": "a", "answered_by": "a-1", "prompt_tokens": 1}
    varied: list[dict[str, Any]] = [
        {"total_cost": Decimal(1)},
        {},
        {},
        {"answered_by": None, "provider": None, "total_cost": Decimal(1)},
        {"model": "it failed", "prompt_tokens": None, "status_code": 404},
    ]
    for moment, others in zip(at, varied, strict=True):
        await layer.record_call(call(moment, **answered | others))
    assert await layer.called_models(EVERYTHING) == [
        CalledModel("a", "openai", "a-1", 3, 2, at[2], at[1]),
        CalledModel("a", None, None, 1, 0, at[3], None),
    ]
    assert [one.calls for one in await layer.called_models(CallFilter(since=at[2], until=at[3]))] == [1]


async def test_the_newest_calls_show_whether_a_provider_ends_its_answers_in_words(
    layer: ChainlitLayer,
) -> None:
    async def answered(provider: str, number: int = 0, **facts: object) -> None:
        moment = at(f"01:00:00.{number:03}")
        whole = {"is_streaming": True, "status_code": 200, "finish_reason": "stop", **facts}
        await layer.record_call(call(moment, provider=provider, **whole))

    await answered("silent", finish_reason=None)
    await answered("silent", finish_reason="")
    await answered("silent", finish_reason="stopped")
    await answered("silent", error_kind="cut")
    await answered("silent", is_streaming=False)
    await answered("telling", finish_reason="length")
    assert not await layer.has_sent_finish_reasons("silent")
    assert await layer.has_sent_finish_reasons("telling")
    with datalayer.acting_as("bob"):
        assert await layer.has_sent_finish_reasons("telling")
    for number in range(1, 501):
        await answered("telling", number, finish_reason=None, error_kind="cut")
    assert not await layer.has_sent_finish_reasons("telling"), "its server was replaced by one that sends none"


async def test_a_call_wakes_the_review_only_for_an_answer_and_the_search_never(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(layer.search_indexer, "note", lambda **_: woken.append("search"))
    monkeypatch.setattr(layer.answer_follower, "note", lambda: woken.append("review"))
    await layer.record_call(call(prompt_tokens=1))
    assert woken == []
    await layer.record_call(call(prompt_tokens=1, step_id=new_id()))
    assert woken == ["review"]
