"""Prices, projects and limits, on both engines."""

import asyncio
import threading
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

import datalayer
from datalayer import AlreadyExists, Forbidden, InvalidRecord, NotFound, acting_as
from datalayer.billing import limiting, projects, spending
from datalayer.billing.limits import budget_of, standings
from datalayer.billing.spending import Budget, Spending, Spent, amount_used
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.periods import period_around
from datalayer.records.billing import ModelRepricing
from datalayer.records.usage import (
    CallDemand,
    CallFilter,
    DeletedProject,
    Limit,
    LimitReached,
    LlmCall,
    Price,
    Project,
    Provider,
    Reservation,
)
from datalayer.schema.review import audit_entries
from tests.support.calls import call
from tests.support.counted import counted
from tests.support.records import new_id, user_id
from threadkeeper.pricing.rates import Costs, costs_of

LONG = 600.0
NOW = "2026-03-10T12:00:00Z"


def price(pattern: str = "gpt-x", valid_from: str = NOW, **fields: Any) -> Price:
    values = {"input": Decimal("2.5"), "output": Decimal(10), **fields}
    return Price(new_id(), pattern, valid_from, **values)


def limit(amount: Any, unit: Any = "tokens", *, period: Any = "day", user: str | None = None, **fields: Any) -> Limit:
    """A limit for a user, or for each user if none is given."""
    scope: Any = "user" if user else "users"
    return Limit(**{"id": new_id(), "scope": scope, "subject_id": user, "period": period, "unit": unit,
                    "amount": Decimal(amount), **fields})  # fmt: skip


def demand(user_id: str | None, prompt: int = 10, answer: int = 90, **fields: Any) -> CallDemand:
    values = {"project_id": None, "short_answer_tokens": answer, **fields}
    return CallDemand(new_id(), user_id, prompt_tokens=prompt, answer_tokens=answer, **values)


async def reserve(layer: ChainlitLayer, wanted: CallDemand, seconds: float = LONG) -> Reservation | LimitReached:
    return await layer.reserve(wanted, zone="UTC", seconds=seconds)


async def user(layer: ChainlitLayer, name: str = "alice") -> str:
    return (await layer.add_account(name, "hash")).id


# Prices


async def test_the_newest_price_comes_first(layer: ChainlitLayer) -> None:
    older, newest = price(valid_from="2026-01-01T00:00:00+01:00"), price("claude-.*", provider=" Anthropic")
    same_day = price("o\\d", valid_from="2026-01-01T00:00:00+01:00", cached=Decimal("0.000000000001"))
    for one in (older, newest, same_day):
        await layer.add_price(one)
    found = await layer.list_prices()
    assert [one.id for one in found] == [newest.id, same_day.id, older.id]
    assert (found[0].provider, found[0].input, found[0].cached) == ("anthropic", Decimal("2.5"), None)
    assert (found[1].cached, found[1].valid_from) == (Decimal("0.000000000001"), "2025-12-31T23:00:00.000000Z")


async def test_prices_are_added_all_or_none(layer: ChainlitLayer) -> None:
    for bad in (price("("), price(input=Decimal(-1)), price(output=Decimal("NaN")), price(valid_from="soon")):
        with pytest.raises(InvalidRecord):
            await layer.add_prices([price(), bad])
    twice = price()
    with pytest.raises(InvalidRecord):
        await layer.add_prices([price(), twice, twice])
    assert await layer.list_prices() == []
    # More than the audit names; sent twice, they are stored once.
    many = [price(f"m{number}", cached=Decimal("0.10") if number % 2 else None) for number in range(120)]
    for _ in range(2):
        stored = await layer.add_prices(many, by="ada")
    await layer.deactivate_price(many[0].id)
    await layer.add_prices(many)
    assert [one.is_active for one in await layer.list_prices()] == [True] * 119 + [False]
    for other in (replace(many[0], output=Decimal(9)), price()):
        with pytest.raises(InvalidRecord):
            await layer.add_prices([many[1], other])
    assert [replace(one, is_active=True, created_at="") for one in await layer.list_prices()] == [
        replace(one, created_at="") for one in reversed(stored)
    ]
    async with layer.database.read() as connection:
        chosen = select(audit_entries.c.details).where(audit_entries.c.action == "add_price")
        (details,) = (await connection.execute(chosen)).scalars()
    assert (details["count"], len(details["prices"]), details["models"][99]) == (120, 100, "m99")


async def test_a_price_is_ended_once(layer: ChainlitLayer) -> None:
    kept = await layer.add_price(price())
    await layer.deactivate_price(kept.id)
    assert [one.is_active for one in await layer.list_prices()] == [False]
    with pytest.raises(NotFound):
        await layer.deactivate_price(new_id())


SLOW_PATTERNS = (
    *("(a+)+b", "(a|a)*b", "(a?){40}b", "a?" * 60, ".*.*.*.*x", "(?=a)b", r"(a)\1", "(ab|a|b)+", "", "a" * 201),
)
PATTERNS = (r"gpt-4o(-mini)?(-\d{4}-\d{2}-\d{2})?", "claude-.*", "(gpt|o)[-.0-9a-z]+", ".*llama.*instruct.*", "x")


async def test_a_pattern_that_could_take_long_is_refused(layer: ChainlitLayer, subtests: pytest.Subtests) -> None:
    for pattern in SLOW_PATTERNS:
        with subtests.test(pattern=pattern), pytest.raises(InvalidRecord):
            await layer.add_price(price(pattern))


async def test_an_ordinary_pattern_is_accepted(layer: ChainlitLayer, subtests: pytest.Subtests) -> None:
    for pattern in PATTERNS:
        with subtests.test(pattern=pattern):
            assert (await layer.add_price(price(pattern))).pattern == pattern


# Projects


async def test_concurrent_requests_create_one_default_project(layer: ChainlitLayer, database_url: str) -> None:
    other = datalayer.create_data_layer(database_url)
    found = await asyncio.gather(*(one.default_project() for one in (layer, other) * 5))
    await other.close()
    assert len(set(found)) == 1
    assert [(one.id, one.slug) for one in await layer.list_projects()] == [(found[0], "default")]


async def test_one_of_two_new_projects_with_a_slug_is_made(layer: ChainlitLayer, database_url: str) -> None:
    other = datalayer.create_data_layer(database_url)
    new = [Project(new_id(), name, "lab", providers=(Provider(name, name.lower()),)) for name in ("One", "Two")]
    pairs = zip((layer, other), new, strict=True)
    made = await asyncio.gather(*(one.put_project(it, is_new=True) for one, it in pairs), return_exceptions=True)
    await other.close()
    (refused,) = [one for one in made if isinstance(one, BaseException)]
    assert isinstance(refused, AlreadyExists)
    stored = [(one.name, one.providers[0].name) for one in await layer.list_projects()]
    assert stored == [(one.name, one.name) for one in made if isinstance(one, Project)]
    assert [one.action for one in (await layer.list_audit()).entries] == ["put_project"]


async def test_a_project_is_replaced_completely_and_keeps_its_id(layer: ChainlitLayer) -> None:
    await user(layer)
    azure = Provider("Azure", "azure", "https://x.openai.azure.com", "gpt-4o", "the fast one", "AZURE_OPENAI_API_KEY")
    first = await layer.put_project(
        Project(
            new_id(),
            "One",
            "one",
            "about it",
            ("b", "a"),
            "alice",
            "ACME",
            (azure, Provider("Own", "own", passes_key=True)),
        )
    )
    (found,) = await layer.list_projects()
    assert found == replace(first, providers=(azure, Provider("Own", "own", passes_key=True)))
    assert (found.owner, found.tags, found.organisation) == ("alice", ("b", "a"), "ACME")
    again = await layer.put_project(Project(new_id(), "Another name", "one"))
    assert (again.id, again.created_at) == (first.id, first.created_at)
    (found,) = await layer.list_projects()
    assert found == again
    assert (found.name, found.providers, found.owner, found.tags) == ("Another name", (), None, ())


INVALID_PROJECTS: list[dict[str, Any]] = [
    {"slug": "No Slug"},
    {"name": " "},
    {"providers": (Provider("P", "p", secret="sk-not-a-name-but-the-key"),)},
    {"providers": (Provider("P", "p"), Provider("Q", "p"))},
    {"providers": (Provider("P", "p", "ftp://x.example"),)},
    {"providers": (Provider("P", "p", "https://user:password@x.example"),)},
    {"providers": (Provider("P", "p", "https://x.example/v1?a=1"),)},
    {"providers": (Provider("P", "p", "https://x.example:99999/v1"),)},
]


async def test_an_invalid_project_is_refused(layer: ChainlitLayer, subtests: pytest.Subtests) -> None:
    for wrong in INVALID_PROJECTS:
        with subtests.test(wrong=wrong):
            with pytest.raises(InvalidRecord) as refused:
                await layer.put_project(Project(**{"id": new_id(), "name": "One", "slug": "one", **wrong}))
            assert "sk-not" not in str(refused.value)
    for nobody in ("nobody", "\x00"):
        with pytest.raises(NotFound):
            await layer.put_project(Project(new_id(), "One", "one", owner=nobody))


async def test_only_the_system_changes_prices_projects_and_limits(layer: ChainlitLayer) -> None:
    with acting_as("alice"):
        for change in (
            layer.add_price(price()),
            layer.deactivate_price(new_id()),
            layer.put_project(Project(new_id(), "One", "one")),
            layer.put_limit(limit(1)),
            layer.remove_limit(new_id()),
        ):
            with pytest.raises(Forbidden):
                await change
        assert (await layer.list_prices(), await layer.list_limits()) == ([], [])


async def test_a_project_is_deleted_by_its_owner_or_an_admin_and_its_calls_stay(layer: ChainlitLayer) -> None:
    alice, _ = await user(layer), await user(layer, "bob")
    await layer.add_account("ada", "hash", "admin")
    one = await layer.put_project(Project(new_id(), "One", "one", owner="alice", providers=(Provider("P", "p"),)))
    await layer.put_project(Project(new_id(), "Two", "two", owner="alice"))
    await layer.default_project()
    with acting_as("alice"):
        key, secret = await layer.create_api_key("of one", ["gateway"], project="one")
        other, _ = await layer.create_api_key("of two", ["gateway"], project="two")
    budget = await layer.put_limit(Limit(new_id(), "project", one.id, "day", "tokens", Decimal(5)))
    kept = await layer.put_limit(limit(5))
    made = call(user_id=alice, project_id=one.id, prompt_tokens=1)
    await layer.record_call(made)
    for actor, refused in (("bob", Forbidden), (None, Forbidden), ("nobody", Forbidden)):
        with acting_as(actor), pytest.raises(refused):
            await layer.delete_project("one")
    with pytest.raises(NotFound):
        await layer.delete_project("three")
    with pytest.raises(InvalidRecord):
        await layer.delete_project("default")

    with acting_as("alice"):
        deleted = await layer.delete_project("one")
    assert deleted == DeletedProject(one.id, "one", ("p",), (key.id,), (budget.id,))
    assert await layer.find_api_key(secret) is None, "else it would let the default project pay"
    assert [one.id for one in await layer.list_api_keys() if one.revoked_at is None] == [other.id]
    assert await layer.list_limits() == [kept]
    (row,) = (await layer.list_calls(CallFilter())).rows
    assert (row.call.id, row.call.project_id) == (made.id, None)
    with acting_as("ada"):
        await layer.delete_project("two")
        audit = [(one.action, one.actor, one.owner_id) for one in (await layer.list_audit()).entries]
    assert [one for one in audit if one[0] not in ("create_key", "put_limit", "put_project")] == [
        ("delete_project", "ada", None),
        ("revoke_key", "ada", alice),
        ("delete_project", "alice", None),
        ("revoke_key", "alice", alice),
    ]
    assert [one.slug for one in await layer.list_projects()] == ["default"]


async def test_the_deletion_of_a_project_with_many_calls_lets_others_write_and_goes_on_after_an_interruption(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projects, "DETACHED_AT_ONCE", 2)
    alice = await user(layer)
    one = await layer.put_project(Project(new_id(), "One", "one", owner="alice"))
    with acting_as("alice"):
        key, secret = await layer.create_api_key("of one", ["gateway"], project="one")
    for _ in range(5):
        await layer.record_call(call(user_id=alice, project_id=one.id))

    async def left() -> int:
        return len([row for row in (await layer.list_calls(CallFilter())).rows if row.call.project_id == one.id])

    async def interrupted(*_: Any) -> DeletedProject:
        raise InvalidRecord("interrupted")

    with monkeypatch.context() as broken:
        broken.setattr(projects, "remove", interrupted)
        with pytest.raises(InvalidRecord):
            await layer.delete_project("one")
    assert await left() == 1, "the last transaction alone is rolled back"
    assert await layer.find_api_key(secret) is None
    with acting_as("alice"):
        assert await layer.delete_project("one") == DeletedProject(one.id, "one", (), (), ())
    assert await left() == 0
    assert [one.id for one in await layer.list_api_keys()] == [key.id]


# Limits


async def test_a_limit_is_stored_once_with_its_newest_amount(layer: ChainlitLayer) -> None:
    alice = await user(layer)
    first = await layer.put_limit(limit(100_000_000_000))
    again = await layer.put_limit(limit(5))
    others = [
        await layer.put_limit(one) for one in (limit(5, period="month"), limit("0.5", "dollars"), limit(7, user=alice))
    ]
    assert again.id == first.id
    found = await layer.list_limits()
    assert found == [replace(first, amount=Decimal(5)), *others] == [again, *others]
    for one in found:
        await layer.remove_limit(one.id)
    assert await layer.list_limits() == []
    with pytest.raises(NotFound):
        await layer.remove_limit(first.id)


async def test_two_processes_store_one_limit_of_a_kind(layer: ChainlitLayer, database_url: str) -> None:
    other = datalayer.create_data_layer(database_url)
    await asyncio.gather(layer.ping(), other.ping())
    wanted = [limit(5, unit, period=period) for unit in ("tokens", "dollars") for period in ("day", "month")]
    stored = await asyncio.gather(*(
        layer_.put_limit(replace(one, id=new_id(), amount=Decimal(amount)))
        for one in wanted
        for layer_, amount in ((layer, 5), (other, 6))
    ))  # fmt: skip
    await other.close()
    assert {one.id for one in await layer.list_limits()} == {one.id for one in stored}
    assert len(await layer.list_limits()) == len(wanted)


INVALID_LIMITS = [
    limit(-1),
    limit("1.5"),
    limit("NaN"),
    limit(1, period="year"),
    limit(1, "euros"),
    replace(limit(1), scope="user"),
    replace(limit(1), subject_id=new_id()),
]


async def test_an_invalid_limit_is_refused(layer: ChainlitLayer, subtests: pytest.Subtests) -> None:
    for wrong in INVALID_LIMITS:
        with subtests.test(wrong=wrong), pytest.raises(InvalidRecord):
            await layer.put_limit(wrong)


async def test_finished_calls_and_reservations_count(layer: ChainlitLayer) -> None:
    alice, bob = await user(layer), await user(layer, "bob")
    await layer.put_limit(limit(1_000))
    now = utc_now()
    await layer.record_call(call(now, user_id=alice, prompt_tokens=300, completion_tokens=400))
    await layer.record_call(call(now, user_id=bob, prompt_tokens=999))
    await layer.record_call(call("2020-01-01T00:00:00Z", user_id=alice, prompt_tokens=999))
    under_way = await reserve(layer, demand(alice, 10, 90))
    assert isinstance(under_way, Reservation)
    (standing,) = under_way.standings
    assert [standing.used, standing.in_flight, standing.left, under_way.tokens] == [700, 0, 300, 100]
    # 200 tokens are left, so an answer that asks for more gets 200.
    second = await reserve(layer, demand(alice, 10, 500))
    assert isinstance(second, Reservation)
    assert second.tokens == 200
    third = await reserve(layer, demand(alice))
    assert isinstance(third, LimitReached)
    assert [third.standing.used, third.standing.in_flight, third.standing.left] == [700, 300, 0]
    await layer.release(under_way.id)
    assert isinstance(await reserve(layer, demand(alice)), Reservation)
    assert isinstance(await reserve(layer, demand(bob)), LimitReached)
    assert isinstance(await reserve(layer, demand(None)), Reservation)
    (seen,) = await layer.limit_standings(alice, None, zone="UTC")
    assert [seen.used, seen.in_flight] == [700, 300]


async def test_a_personal_limit_replaces_the_limit_for_each_user(layer: ChainlitLayer) -> None:
    more, less, other = [await user(layer, name) for name in ("more", "less", "other")]
    for one in (limit(100), limit(150, period="month"), limit(500, user=more), limit(50, user=less)):
        await layer.put_limit(one)

    async def of(whom: str) -> list[tuple[str, int]]:
        found = await layer.limit_standings(whom, None, zone="UTC")
        return sorted((one.limit.period, int(one.limit.amount)) for one in found)

    assert await of(more) == [("day", 500), ("month", 150)]
    assert await of(less) == [("day", 50), ("month", 150)]
    assert await of(other) == [("day", 100), ("month", 150)]
    assert isinstance(await reserve(layer, demand(more, 60, 90)), Reservation)
    assert isinstance(await reserve(layer, demand(less, 60, 90)), LimitReached)
    shortened = await reserve(layer, demand(other, 60, 90, short_answer_tokens=30))
    assert isinstance(shortened, Reservation)
    assert shortened.tokens == 90


async def test_expired_reservations_of_ended_processes_are_released(layer: ChainlitLayer) -> None:
    alice = await user(layer)
    await layer.put_limit(limit(100))
    assert isinstance(await reserve(layer, demand(alice), seconds=0.2), Reservation)
    assert isinstance(await reserve(layer, demand(alice)), LimitReached)
    await asyncio.sleep(0.25)
    assert isinstance(await reserve(layer, demand(alice)), Reservation)


async def test_two_replicas_never_reserve_the_same_tokens(layer: ChainlitLayer, database_url: str) -> None:
    alice = await user(layer)
    project = await layer.default_project()
    await layer.put_limit(limit(1_000, user=alice))
    await layer.put_limit(limit(1_000, scope="project", subject_id=project))
    others = [datalayer.create_data_layer(database_url) for _ in range(2)]
    answers = await asyncio.gather(
        *(reserve(one, demand(alice, project_id=project)) for one in (layer, *others) for _ in range(10))
    )
    for other in others:
        await other.close()
    promised = [answer.tokens for answer in answers if isinstance(answer, Reservation)]
    assert promised == [100] * 10


async def test_a_call_that_ends_in_another_process_meanwhile_counts(
    layer: ChainlitLayer, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reservation or its row counts, whenever the one replaces the other."""
    alice = await user(layer)
    await layer.put_limit(limit(100))
    other = datalayer.create_data_layer(database_url)
    first = await reserve(other, demand(alice, 10, 90))
    assert isinstance(first, Reservation)
    # Older sums are cached from now on, and not read in between.
    assert isinstance(await reserve(layer, demand(alice)), LimitReached)
    ending: list[asyncio.Future[Any]] = []
    execute = AsyncConnection.execute

    async def then_end(self: AsyncConnection, statement: Any, *rest: Any, **named: Any) -> Any:
        result = await execute(self, statement, *rest, **named)
        if not ending and "sum(" in str(statement) and "llm_calls" in str(statement):
            ended = call(utc_now(), user_id=alice, prompt_tokens=10, completion_tokens=90)
            ending.append(asyncio.gather(other.record_call(ended), other.release(first.id)))
            # On SQLite it waits until the other transaction has ended.
            await asyncio.wait(ending, timeout=1)
        return result

    monkeypatch.setattr(AsyncConnection, "execute", then_end)
    second = await reserve(layer, demand(alice))
    assert ending
    await ending[0]
    await other.close()
    assert isinstance(second, LimitReached)


async def test_sums_of_a_month_are_cached_and_only_recent_calls_added_up(layer: ChainlitLayer) -> None:
    alice, begin = await user(layer), "2026-01-01T00:00:00.000000Z"
    budgets = [Budget("user", alice, "tokens", begin), Budget("user", alice, "dollars", begin)]
    spending = Spending()

    async def use(moment: str) -> None:
        await layer.record_call(call(moment, user_id=alice, prompt_tokens=100, total_cost=Decimal("0.5")))

    await use("2025-12-31T23:59:59Z")
    await use("2026-01-01T00:00:00Z")
    await use(utc_now())
    for _ in range(2):
        found = await spending.so_far(layer.database, [*budgets, Budget("user", alice, "tokens", utc_now())])
        assert [found[budget].amount for budget in budgets] == [100, Decimal("0.5")]
        assert len(found) == 2, "a budget that began a moment ago has no sum to cache"
        # The sums are cached for half an hour.
        await use("2026-01-02T00:00:00Z")
    async with layer.database.read() as connection:
        for since, amount in ((found[budgets[0]].until, 100), (begin, 400)):
            assert (await connection.execute(amount_used(budgets[0], since, "2100"))).scalar() == amount
    limit_of_month = limit(1_000, period="month")
    await layer.put_limit(limit_of_month)
    moment = utc_now()
    budget = budget_of(limit_of_month, alice, None, zone="UTC", moment=moment)
    spent = {budget: Spent(moment, Decimal(123))}
    async with layer.database.read() as connection:
        (standing,) = await standings(connection, alice, None, zone="UTC", moment=moment, spent=spent)
    assert standing.used == 123


async def test_a_limit_in_dollars_needs_a_price(layer: ChainlitLayer) -> None:
    alice = await user(layer)
    await layer.put_limit(limit("0.001", "dollars"))
    unpriced = await reserve(layer, demand(alice))
    assert isinstance(unpriced, LimitReached)
    assert unpriced.is_unpriced
    priced: dict[str, Any] = {"prompt_cost": Decimal("0.0004"), "answer_token_cost": Decimal("0.00001")}
    first = await reserve(layer, demand(alice, 10, 90, **priced))
    assert isinstance(first, Reservation)
    # After the question, 60 tokens are left for the answer.
    assert (first.tokens, first.cost) == (70, Decimal("0.001"))
    assert isinstance(await reserve(layer, demand(alice, **priced)), LimitReached)
    free: dict[str, Any] = {"prompt_cost": Decimal(0), "answer_token_cost": Decimal(0)}
    assert isinstance(await reserve(layer, demand(alice, 10, 90, **free)), Reservation)


@pytest.mark.parametrize(
    ("period", "zone", "begin", "end"),
    [
        ("day", "UTC", "2026-03-29T00:00:00.000000Z", "2026-03-30T00:00:00.000000Z"),
        # The clocks go forward: a day of 23 hours.
        ("day", "Europe/Berlin", "2026-03-28T23:00:00.000000Z", "2026-03-29T22:00:00.000000Z"),
        ("day", "Pacific/Auckland", "2026-03-28T11:00:00.000000Z", "2026-03-29T11:00:00.000000Z"),
        ("month", "Asia/Shanghai", "2026-02-28T16:00:00.000000Z", "2026-03-31T16:00:00.000000Z"),
    ],
)
def test_a_period_follows_the_time_zone(period: Any, zone: str, begin: str, end: str) -> None:
    assert period_around("2026-03-29T10:00:00.000000Z", period, zone) == (begin, end)


def test_an_unknown_time_zone_is_refused() -> None:
    for zone in ("Moon/Crater", "../etc/passwd", ""):
        with pytest.raises(InvalidRecord):
            period_around(NOW, "day", zone)


async def test_limits_are_listed_by_pages_with_what_is_used_of_each(
    layer: ChainlitLayer, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await user_id(layer, "alice")
    project = await layer.put_project(Project(new_id(), "The lab", "lab"))
    key, _ = await layer.create_api_key("a program", ["gateway"], user="alice", project="lab")
    # In the first minutes of a month nothing is old enough for the sums that are kept.
    now, until, earlier = (f"2026-03-15T12:{minute}:00.000000Z" for minute in (30, 15, 10))
    monkeypatch.setattr(limiting, "utc_now", lambda: now)
    monkeypatch.setattr(spending, "utc_in", lambda _seconds: until)
    whose = {"user_id": user, "project_id": project.id, "key_id": key.id}
    for moment in (now, earlier, "2020-01-01T00:00:00.000000Z"):
        await layer.record_call(call(moment, prompt_tokens=5, completion_tokens=1, total_cost=Decimal("0.5"), **whose))
    demand = CallDemand(new_id(), user, project.id, 10, 20, 20, Decimal(1), Decimal("0.1"), key.id)
    assert isinstance(await layer.reserve(demand, zone="UTC", seconds=60), Reservation)
    expected = []
    for scope, subject, names in (
        ("users", None, (None, None)),
        ("user", user, ("alice", None)),
        ("project", project.id, ("The lab", "lab")),
        ("key", key.id, ("a program", key.prefix)),
    ):
        for unit, spent, reserved in (("tokens", Decimal(12), Decimal(30)), ("dollars", Decimal(1), Decimal(3))):
            limit = await layer.put_limit(Limit(new_id(), scope, subject, "month", unit, Decimal(100)))  # type: ignore[arg-type]
            is_of_all = scope == "users"
            expected.append((limit.id, *names, *((None, None) if is_of_all else (spent, reserved))))
    added_up = []
    add_up = spending._spent

    async def noted(connection: Any, budgets: Any, until: str) -> Any:
        added_up.extend(budgets)
        return await add_up(connection, budgets, until)

    monkeypatch.setattr(spending, "_spent", noted)
    for _ in range(2):
        found, cursor = [], None
        while True:
            page = await layer.page_of_limits(zone="UTC", cursor=cursor, limit=3)
            found += [(one.limit.id, one.subject, one.known_as, one.used, one.in_flight) for one in page.uses]
            if (cursor := page.next_cursor) is None:
                break
        assert found == expected
    assert len(added_up) == len(set(added_up)) == 6, "once each, however often one looks"
    async with counted(database_url, tmp_path, monkeypatch) as counter:
        await counter.layer.list_limits()
        counter.reset()
        page = await counter.layer.page_of_limits(zone="UTC")
        assert [(one.used, one.in_flight) for one in page.uses] == [one[3:] for one in expected]
        assert counter.statements == 4, "the limits, the calls in progress, the sums, and what came since"
    of_project = (await layer.page_of_limits(zone="UTC", scopes=["project"])).uses[0]
    assert of_project.left == Decimal(58)
    for bad in ({"cursor": "x"}, {"limit": 0}, {"limit": 201}):
        with pytest.raises(datalayer.InvalidRecord):
            await layer.page_of_limits(zone="UTC", **bad)
    with datalayer.acting_as("alice"), pytest.raises(datalayer.Forbidden):
        await layer.page_of_limits(zone="UTC")


async def test_repricing_is_for_a_period_and_models_and_tells_its_changes_by_model(layer: ChainlitLayer) -> None:
    second = ((2, "a", Decimal(1)), (2, "b", None), (2, "gone", Decimal(9)))
    for day, model, cost in ((1, "a", None), *second, (3, "a", None)):
        moment = f"2026-03-0{day}T12:00:00.000000Z"
        await layer.record_call(call(moment, model=model, prompt_tokens=1_000_000, total_cost=cost))
    own = [price(model, "2026-01-01", input=Decimal(2), output=Decimal(0)) for model in ("a", "b")]

    def cost_of(one: LlmCall) -> Costs | None:
        assert threading.current_thread() is not threading.main_thread(), "a look takes a millisecond"
        return costs_of(one, own)

    period: dict[str, Any] = {"until": "2026-03-03"}
    dry = await layer.reprice("2026-03-02", cost_of, **period)
    assert dry.by_model == (
        ModelRepricing("a", "openai", changed=1, before=Decimal(1), after=Decimal(2)),
        ModelRepricing("b", "openai", changed=1, had_none=1, after=Decimal(2)),
        ModelRepricing("gone", "openai", unlisted=1, unlisted_cost=Decimal(9)),
    )
    assert (dry.calls, dry.changed, dry.before, dry.after, dry.unlisted) == (3, 2, Decimal(1), Decimal(4), 1)
    assert dry == await layer.reprice("2026-03-02", cost_of, **period), "the same fingerprint"
    prints = {dry.fingerprint}
    others: list[dict[str, Any]] = [{"until": "2026-03-04"}, period | {"models": ["a"]}, period | {"forget": True}]
    for other in others:
        prints.add((await layer.reprice("2026-03-02", cost_of, **other)).fingerprint)
    assert len(prints) == 4
    assert (await layer.reprice("2026-03-02", cost_of, models=["b"], dry_run=False)).changed == 1
    calls = [one.call for one in (await layer.list_calls(CallFilter())).rows]
    costs = {(one.requested_at[9], one.model): one.total_cost for one in calls}
    assert costs == {("1", "a"): None, ("2", "a"): 1, ("2", "b"): 2, ("2", "gone"): 9, ("3", "a"): None}
    with pytest.raises(InvalidRecord):
        await layer.reprice("2026-03-02", cost_of, until="the ides")
