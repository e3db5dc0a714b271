"""Properties of totals: after any sequence of writes they equal those of a dictionary, for every filter and split."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert, text

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import CallFilter, Interval, LlmCall, UsageTotals
from datalayer.schema.usage import llm_calls
from datalayer.usage import statistics
from tests.support.calls import call
from tests.support.records import new_id, thread, user_id

EXACT = ("input_cost", "output_cost", "total_cost")
TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
MEANS = ("seconds", "tokens_per_second", "first_token_seconds")

MONEY = st.decimals(0, Decimal(100), places=12)
SECONDS = st.integers(0, 10**4).map(lambda milliseconds: milliseconds / 1000)
CALLS = st.fixed_dictionaries(
    {
        "requested_at": st.sampled_from(
            [f"2026-03-{day}T{clock}:00Z" for day in (28, 29) for clock in ("00:00", "00:07", "22:00", "22:07")]
        ),
        "model": st.sampled_from(["m1", "m2"]),
        "tags": st.sampled_from([(), ("a",), ("a", "b")]),
        "status_code": st.sampled_from([None, 200, 429]),
        "error_kind": st.sampled_from([None, "Down"]),
        "is_estimated": st.booleans(),
        **{name: st.none() | st.integers(0, 10**9) for name in TOKENS},
        **{name: st.none() | MONEY for name in EXACT},
        **{name: st.none() | SECONDS for name in ("seconds", "first_token_seconds")},
    }
)
NUMBERS = st.integers(0, 4)
DOINGS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), NUMBERS, st.integers(0, 1), CALLS),
        st.tuples(st.just("delete thread"), NUMBERS),
        st.tuples(st.just("delete user"), st.integers(0, 1)),
    ),
    max_size=10,
)


def totals(calls: Iterable[LlmCall]) -> UsageTotals:
    """The totals, added up call by call."""
    calls = list(calls)

    def given(name: str) -> list[Any]:
        return [value for one in calls if (value := getattr(one, name)) is not None]

    def mean(name: str) -> Any:
        values = given(name)
        return pytest.approx(sum(values) / len(values), rel=1e-9) if values else None

    def least(percent: int) -> float | None:
        times = sorted(given("first_token_seconds"))
        return times[-(-len(times) * percent // 100) - 1] if times else None

    sums: dict[str, Any] = {name: sum(given(name)) for name in TOKENS}
    sums |= {name: sum(given(name), Decimal(0)) for name in EXACT}
    sums |= {f"mean_{name}": mean(name) for name in MEANS}
    return UsageTotals(
        calls=len(calls),
        failed=sum(one.has_failed for one in calls),
        unpriced=sum(
            one.total_cost is None and (one.prompt_tokens or 0) + (one.completion_tokens or 0) > 0 for one in calls
        ),
        estimated=sum(one.is_estimated for one in calls),
        **sums,
        first_token_p50=least(50),
        first_token_p95=least(95),
    )


class Trial:
    """Calls in the store and in a dictionary."""

    def __init__(self, layer: ChainlitLayer) -> None:
        self.layer, self.calls = layer, dict[str, LlmCall]()
        self.ids = [new_id() for _ in range(5)]

    async def begin(self) -> None:
        self.users = [f"user {new_id()}" for _ in range(2)]
        self.user_ids = [await user_id(self.layer, name) for name in self.users]
        self.threads = [await thread(self.layer, self.user_ids[number % 2]) for number in range(5)]

    async def do(self, doing: Any) -> None:
        match doing:
            case "record", number, owner, fields:
                record = call(
                    id=self.ids[number], user_id=self.user_ids[owner], thread_id=self.threads[number], **fields
                )
                await self.layer.record_call(record)
                found = await self.layer.get_call(record.id)
                assert found is not None
                self.calls[record.id] = found[0].call
            case "delete thread", number:
                await self.layer.delete_thread(self.threads[number])
            case "delete user", number:
                if await self.layer.get_user(self.users[number]):
                    await self.layer.delete_user(self.users[number])

    async def compare(self) -> None:
        calls, layer = self.calls.values(), self.layer
        assert await layer.usage_totals(CallFilter()) == totals(calls)
        groups: dict[Any, list[LlmCall]] = defaultdict(list)
        for one in calls:
            for tag in one.tags or (None,):
                groups[tag].append(one)
        found = {one.value: one.totals for one in await layer.usage_by(CallFilter(), "tag")}
        assert found == {value: totals(some) for value, some in groups.items()}
        days = CallFilter("2026-03-27T23:00:00Z", "2026-03-30T22:00:00Z")
        zone = ZoneInfo("Europe/Berlin")
        by_day: dict[Any, list[LlmCall]] = defaultdict(list)
        for one in calls:
            by_day[datetime.fromisoformat(one.requested_at).astimezone(zone).date(), one.model].append(one)
        series = await layer.usage_series(days, "day", zone.key, "model")
        assert [(bucket.start, bucket.value) for bucket in series] == list(
            product(
                (f"2026-03-{day}T{hour}:00:00.000000Z" for day, hour in ((27, 23), (28, 23), (29, 22))),
                sorted({one.model for one in calls}),
            )
        )
        for bucket in series:
            day = datetime.fromisoformat(bucket.start).astimezone(zone).date()
            assert bucket.totals == totals(by_day[day, bucket.value])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(doings=DOINGS)
@pytest.mark.slow
async def test_totals_equal_those_of_a_dictionary(layer: ChainlitLayer, doings: list[Any]) -> None:
    async with layer.database.write() as connection:
        for table in ("llm_call_payloads", "llm_calls"):
            await connection.exec_driver_sql(f"DELETE FROM {table}")
    trial = Trial(layer)
    await trial.begin()
    for doing in doings:
        await trial.do(doing)
    await trial.compare()


async def test_a_series_of_too_many_buckets_is_refused(layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    which = CallFilter("2026-03-10", "2026-03-11")
    await asyncio.gather(*(layer.record_call(call(model=f"m{number % 3}")) for number in range(6)))
    monkeypatch.setattr(statistics, "MOST_BUCKETS", 72)
    assert len(await layer.usage_series(which, "hour", "UTC", "model")) == 72
    for most in (71, 2):
        monkeypatch.setattr(statistics, "MOST_BUCKETS", most)
        with pytest.raises(datalayer.InvalidRecord, match="longer intervals"):
            await layer.usage_series(which, "hour", "UTC", "model")
    assert len(await layer.usage_series(which, "hour", "UTC")) == 24


@pytest.mark.parametrize("interval", ["5 minutes", "hour", "day", "week", "month", "year"])
async def test_every_interval_contains_each_call_once(layer: ChainlitLayer, interval: Interval) -> None:
    times = [f"2026-03-29T{hour:02}:{minute:02}:59.5Z" for hour in range(0, 24, 5) for minute in (0, 4, 5)]
    await asyncio.gather(*(layer.record_call(call(time, tags=("a", "b"))) for time in times))
    which = CallFilter("2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z")
    for zone in ("UTC", "Asia/Kathmandu", "America/New_York"):
        found = await layer.usage_series(which, interval, zone)
        assert sum(bucket.totals.calls for bucket in found) == len(times)
        assert (found[0].start, found[-1].end) == ("2026-03-29T00:00:00.000000Z", "2026-03-30T00:00:00.000000Z")
        for bucket in found:
            inside = [time for time in times if bucket.start <= f"{time[:-1]}00000Z" < bucket.end]
            assert bucket.totals.calls == len(inside)
        split = await layer.usage_series(which, interval, zone, "tag")
        assert [one.value for one in split] == ["a", "b"] * len(found)
        assert sum(one.totals.calls for one in split) == 2 * len(times)


async def test_the_usage_of_a_month_reads_the_calls_of_this_month(layer: ChainlitLayer, engine: str) -> None:
    # In the order of their time, as calls are stored; a month is a tenth of them.
    moments = [f"2020-{n // 300 + 1:02}-{n % 300 // 12 + 1:02}T{n % 12:02}:00:00.000000Z" for n in range(3000)]
    filler = {"kind": "chat", "model": "m", "attempt": 1, "isStreaming": False, "errorMessage": "x" * 250}
    counts = {"isEstimated": False, "queryCharacters": 1, "responseCharacters": 1}
    rows = [{"id": new_id(), "requestedAt": moment, **filler, **counts} for moment in moments]
    async with layer.database.write() as connection:
        await connection.execute(insert(llm_calls), rows)
        if engine == "postgres":
            await connection.execute(text("ANALYZE llm_calls"))
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        asked.append((statement, values))

    month = CallFilter("2020-03-01T00:00:00Z", "2020-04-01T00:00:00Z")
    event.listen(layer.database.engine.sync_engine, "before_cursor_execute", note)
    assert [one.totals.calls for one in await layer.usage_by(month, "model")] == [300]
    assert (await layer.usage_totals(month)).calls == 300
    assert len((await layer.list_calls(CallFilter())).rows) == 50
    event.remove(layer.database.engine.sync_engine, "before_cursor_execute", note)
    explain = {"postgres": "EXPLAIN ", "sqlite": "EXPLAIN QUERY PLAN "}[engine]
    of_calls = [(statement, values) for statement, values in asked if "FROM llm_calls" in statement]
    assert len(of_calls) >= 3
    async with layer.database.read() as connection:
        for statement, values in of_calls:
            plan = "\n".join(str(row[-1]) for row in await connection.exec_driver_sql(explain + statement, values))
            # Not by a bitmap, the next best plan: of a table of years, Postgres expects no less of reading it all.
            assert re.search("(using|USING INDEX) llm_calls_by_time", plan), plan
