"""The cost of a call, to a billionth of a dollar, with the price at its time."""

import re
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from datalayer.billing.prices import LONGEST_NAME, compile_pattern
from datalayer.records.usage import LlmCall, Price
from tests.support.records import new_id
from threadkeeper.chat.metering.keeping import CallKeeper, RowStore
from threadkeeper.pricing.rates import Rates, costs_of, rates_of

NOW = "2026-03-10T12:00:00.000000Z"
BILLIONTH = Decimal("1E-9")
amounts = st.decimals(0, 1000, places=12)
counts = st.integers(0, 10**9)


def price(pattern: str, valid_from: str = "2026-01-01T00:00:00.000000Z", **fields: Any) -> Price:
    return Price(new_id(), pattern, valid_from, **{"input": Decimal(1), "output": Decimal(2), **fields})


@given(amounts, amounts, amounts, counts, counts, counts)
def test_a_cost_is_tokens_times_price(
    of_input: Decimal, of_cached: Decimal, of_output: Decimal, prompt: int, completion: int, cached: int
) -> None:
    costs = Rates("own", of_input, of_output, of_cached).costs(prompt, completion, cached)
    cached = min(cached, prompt)
    exact_input = (of_input * (prompt - cached) + of_cached * cached) / 1_000_000
    exact_output = of_output * completion / 1_000_000
    assert abs(costs.input - exact_input) <= BILLIONTH
    assert abs(costs.output - exact_output) <= BILLIONTH
    assert costs.total == costs.input + costs.output
    kept_price = {name: Decimal(costs.price[name]) for name in ("input", "cached", "output")}
    assert kept_price == {"input": of_input, "cached": of_cached, "output": of_output}


@given(st.integers(0, 2_000_000), st.integers(0, 200_000), st.floats(0, 1))
def test_costs_equal_those_of_genai_prices(prompt: int, completion: int, part: float) -> None:
    cached, when = int(prompt * part), datetime.fromisoformat(NOW)
    for provider, model in (("openai", "gpt-4o-mini"), ("openai", "gpt-5"), ("azure", "gpt-4o"), ("openai", "gpt-4")):
        rates = rates_of([], model=model, when=NOW, provider=provider, prompt_tokens=prompt)
        assert rates is not None
        usage = Usage(input_tokens=prompt, output_tokens=completion, cache_read_tokens=cached)
        theirs = calc_price(usage, model, provider_id=provider, genai_request_timestamp=when)
        ours = rates.costs(prompt, completion, cached)
        assert abs(ours.input - theirs.input_price) <= BILLIONTH
        assert abs(ours.total - theirs.total_price) <= BILLIONTH


def test_costs_of_every_text_model_equal_those_of_genai_prices() -> None:
    when, usage = datetime.fromisoformat(NOW), Usage(input_tokens=300_000, output_tokens=1_000, cache_read_tokens=1_000)
    compared = 0
    for provider in get_snapshot().providers:
        if provider.id not in ("openai", "azure"):
            continue
        for model in provider.models:
            rates = rates_of([], model=model.id, when=NOW, provider=provider.id, prompt_tokens=300_000)
            if rates is None or model.deprecated:
                continue
            theirs = calc_price(usage, model.id, provider_id=provider.id, genai_request_timestamp=when)
            assert abs(rates.costs(300_000, 1_000, 1_000).total - theirs.total_price) <= BILLIONTH, model.id
            compared += 1
    assert compared > 50


def test_a_service_tier_has_its_own_price_or_none() -> None:
    def of(tier: str | None, when: str = "2026-11-01T00:00:00.000000Z", model: str = "gpt-4o", own: Any = ()) -> Any:
        return rates_of(own, model=model, when=when, provider="openai", service_tier=tier)

    standard, priority, batch = of(None), of("priority"), of("batch")
    assert [rates.input for rates in (standard, priority, batch)] == [Decimal("2.5"), Decimal("4.25"), Decimal("1.25")]
    assert [of(tier) for tier in ("default", "auto", "standard")] == [standard] * 3
    assert priority.costs(1, 1).price["service_tier"] == "priority"
    assert "service_tier" not in standard.costs(1, 1).price
    # No price is better than that of another tier.
    assert (of("scale"), of("priority", "2026-06-01T00:00:00.000000Z")) == (None, None)
    own = of("flex", own=[price("gpt-4o", "2026-01-01T00:00:00.000000Z")]).costs(1, 1).price
    assert (own["service_tier"], own["is_of_tier"]) == ("flex", False), "the operator's price holds, and says so"


def test_a_provider_is_recognised_by_its_url() -> None:
    known = rates_of(
        [], model="deepseek-chat", when=NOW, provider="api.deepseek.com", base_url="https://api.deepseek.com/v1"
    )
    assert known is not None
    assert known.source.startswith("genai-prices ")


@pytest.mark.parametrize("provider", [None, "127.0.0.1", "llm.example.org"])
def test_a_self_hosted_server_has_no_published_price(provider: str | None) -> None:
    assert rates_of([], model="gpt-4o-mini", when=NOW, provider=provider, base_url="http://127.0.0.1:8000/v1") is None


def test_the_model_that_answered_determines_the_price() -> None:
    deployed = rates_of([], model="our-deployment", answered_by="gpt-4o-mini-2024-07-18", when=NOW, provider="azure")
    assert deployed is not None
    assert deployed.input == Decimal("0.15")


def test_the_newest_own_price_valid_at_that_time_is_used() -> None:
    own = [
        price("gpt-4o-mini", "2026-06-01T00:00:00.000000Z", input=Decimal(9)),
        price("gpt-4o-mini", "2026-03-10T12:00:00.000000Z", input=Decimal(8), is_active=False),
        price("gpt-4o-mini", "2026-03-01T00:00:00.000000Z", input=Decimal(7), provider="azure"),
        price("GPT-4O-.*", "2026-02-01T00:00:00.000000Z", input=Decimal(6)),
        price("gpt-4o-mini", "2026-01-01T00:00:00.000000Z", input=Decimal(5)),
    ]

    def found(**options: Any) -> Decimal | None:
        rates = rates_of(own, **{"model": "gpt-4o-mini", "when": NOW, "provider": "openai", **options})
        return rates and rates.input  # type: ignore[return-value]

    assert found() == 6
    assert found(provider="azure") == 7
    assert found(when="2026-01-15T00:00:00.000000Z") == 5
    assert found(when="2026-06-01T00:00:00.000000Z") == 9
    # Before all own prices, the published price is used.
    assert found(when="2025-12-31T00:00:00.000000Z") == Decimal("0.15")
    assert found(model="gpt-4o-mini-2024", provider="x") == 6
    assert found(model="my-gpt-4o-mini", provider="x") is None
    assert found(model="deployed", answered_by="GPT-4o-Mini", provider="x") == 6


def test_cached_tokens_cost_the_input_price_unless_they_have_their_own() -> None:
    rates = rates_of([price("m")], model="m", when=NOW)
    assert rates is not None
    assert rates.costs(1_000_000, 0, 1_000_000).total == 1
    rates = rates_of([price("m", cached=Decimal("0.1"), image=Decimal("0.01"))], model="m", when=NOW)
    assert rates is not None
    assert rates.costs(1_000_000, 500_000, 400_000, images=3).input == Decimal("0.67")
    assert rates.costs(1, 1, 0, images=3).price["images"] == 3


def test_a_slow_or_invalid_stored_pattern_is_skipped() -> None:
    assert rates_of([price("(a+)+b"), price("(")], model="a" * 100, when=NOW) is None


async def test_the_patterns_of_an_imported_list_are_compiled_outside_of_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Store:
        async def list_prices(self) -> list[Price]:
            return [price(f"model-{number}-{new_id()}") for number in range(20)]

    threads = list[int]()

    def compiled(pattern: str) -> re.Pattern[str]:
        threads.append(threading.get_ident())
        return compile_pattern(pattern)

    monkeypatch.setattr("threadkeeper.pricing.rates.compile_pattern", compiled)
    keeper = CallKeeper(cast("RowStore", Store()), keep_payloads=False)
    await keeper.read_prices()
    assert rates_of(keeper.prices, model="another", when=NOW) is None
    assert len(threads) == 20 and threading.get_ident() not in threads


def test_the_slowest_accepted_pattern_is_fast() -> None:
    began = time.process_time()
    assert compile_pattern(".*.*.*x").fullmatch("a" * LONGEST_NAME) is None
    assert time.process_time() - began < 0.5
    assert rates_of([price(".*")], model="a" * (LONGEST_NAME + 1), when=NOW) is None


def test_the_cost_of_a_stored_call_can_be_recalculated() -> None:
    call = LlmCall(new_id(), "chat", "m", NOW, prompt_tokens=1_000, completion_tokens=500, cached_tokens=None)
    costs = costs_of(call, [price("m")])
    assert costs is not None
    assert costs.total == Decimal("0.002")
    assert costs_of(LlmCall(new_id(), "chat", "m", NOW), [price("m")]) is None
    assert costs_of(call, []) is None
    assert datetime.fromisoformat(NOW).tzinfo == UTC
