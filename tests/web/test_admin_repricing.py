"""The costs of past calls at `/admin/money/reprice`: a dry run, and what it has shown is done."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from datalayer import Price, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import CallFilter
from tests.support.calls import call
from tests.support.job_process import TIMES
from tests.support.pages import Element, read_page, table
from tests.support.patience import until
from tests.support.records import new_id
from tests.support.safe_pages import page_at, posted
from tests.web.conftest import Browser

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

REPRICE = "/admin/money/reprice"
GIVEN = {"since": "2026-03-01", "until": "", "model": "", "forget": ""}


@pytest.fixture
async def jobs(layer: ChainlitLayer, whole_app: FastAPI) -> AsyncIterator[None]:
    """The server runs jobs."""
    layer.run_jobs(TIMES)
    yield
    await layer.stop_jobs()


@pytest.fixture
async def ada(browser_of: Browser, jobs: None) -> httpx.AsyncClient:
    return await browser_of("admin")


async def calls_and_price(layer: ChainlitLayer) -> Price:
    for model, cost in (("house", None), ("house", Decimal(1)), ("gone", Decimal(9))):
        made = call(model=model, provider="models.example", prompt_tokens=1_000_000, total_cost=cost)
        await layer.record_call(made)
    return await layer.add_price(Price(new_id(), "house", "2026-01-01", Decimal("2.5"), Decimal(0)))


async def ended(browser: httpx.AsyncClient, answer: httpx.Response) -> tuple[str, Element]:
    """The address and the page of the job that a form has started, when the job has ended."""
    assert answer.status_code == 303, answer.text
    address = answer.headers["location"]

    async def page() -> Any:
        found = await page_at(browser, address)
        return None if "data-again" in found.one("section", id="repricing").attributes else found

    return address, await until(page)


async def costs(layer: ChainlitLayer) -> list[Any]:
    rows = (await layer.list_calls(CallFilter(), order="cost")).rows
    return [one.call.total_cost for one in rows]


async def test_a_dry_run_is_shown_and_exactly_that_is_done(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    price = await calls_and_price(layer)
    offer = next(
        one.attributes["href"]
        for one in (await page_at(ada, f"/admin/money/prices/{price.id}")).all("a")
        if one.attributes["href"].startswith(REPRICE)
    )
    form = await page_at(ada, offer)
    assert form.one("input", name="model").attributes["value"] == "house"
    assert form.one("input", name="since").attributes["value"] == "2026-01-01"
    address, page = await ended(ada, await posted(ada, form, REPRICE, **GIVEN))
    assert "Dry run: nothing is changed" in page.one("h1").text
    shown = table(page, "rows prices")
    assert shown[0] == ["house", "models.example", "2", "$1.00", "$5.00", "+$4.00", "–"]
    assert (shown[1][0], shown[1][6]) == ("gone", "1 ($9.00)")
    assert "One call without a price today keeps its cost." in page.text
    assert await costs(layer) == [9, 1, None]
    applied, page = await ended(ada, await posted(ada, page, f"{address}/apply"))
    assert "It is done: 2 calls have a new cost." in page.text
    assert await costs(layer) == [9, Decimal("2.5"), Decimal("2.5")]
    assert not page.all("form"), "once"
    with acting_as("ada"):
        (entry,) = [one for one in (await layer.list_audit()).entries if one.action == "reprice"]
    assert entry.actor == "ada"
    assert (entry.details or {}).items() >= {"changed": "2", "after": "5"}.items()
    _, again = await ended(ada, await posted(ada, form, f"{address}/apply"))
    assert "have changed since the dry run" in again.text
    latest = table(await page_at(ada, REPRICE), "rows")
    assert [row[2] for row in latest][-2:] == ["2 calls have a new cost", "dry run: 2 calls would get a new cost"]
    assert (await posted(ada, form, f"{applied}/apply")).status_code == 409
    audit = await page_at(ada, "/review/audit")
    assert "recalculated costs" in audit.text


async def test_what_has_changed_since_the_dry_run_is_told_and_nothing_is_done(
    layer: ChainlitLayer, ada: httpx.AsyncClient
) -> None:
    await calls_and_price(layer)
    form = await page_at(ada, REPRICE)
    address, page = await ended(ada, await posted(ada, form, REPRICE, **GIVEN | {"model": "house", "forget": "1"}))
    await layer.add_price(Price(new_id(), "house", "2026-02-01", Decimal(7), Decimal(0)))
    new_address, page = await ended(ada, await posted(ada, page, f"{address}/apply"))
    assert "Prices or calls have changed since the dry run, so nothing was changed." in page.text
    assert await costs(layer) == [9, 1, None]
    assert "$14.00" in page.text, "the new dry run"
    _, page = await ended(ada, await posted(ada, page, f"{new_address}/apply"))
    assert await costs(layer) == [9, 7, 7]


async def test_costs_without_a_price_become_unknown_if_that_is_chosen(
    layer: ChainlitLayer, ada: httpx.AsyncClient
) -> None:
    await calls_and_price(layer)
    form = await page_at(ada, REPRICE)
    address, page = await ended(ada, await posted(ada, form, REPRICE, **GIVEN | {"model": "gone", "forget": "1"}))
    assert "The cost of one call without a price today becomes unknown." in page.text
    await ended(ada, await posted(ada, page, f"{address}/apply"))
    assert await costs(layer) == [1, None, None]


async def test_what_is_not_valid_is_told_at_its_field(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    form = await page_at(ada, REPRICE)
    for changes, field, told in (
        ({"since": ""}, "since", "Fill in this field."),
        ({"since": "soon"}, "since", "is not a valid date"),
        ({"since": "2190-01-01"}, "since", "must be in the past"),
        ({"until": "2026-02-27"}, "since", "not after the last one"),
        ({"until": "never"}, "until", "is not a valid date"),
        ({"model": "x" * 301}, "model", "more than 300"),
    ):
        refused = await posted(ada, form, REPRICE, **GIVEN | changes)
        assert refused.status_code == 400, changes
        page = read_page(refused.text)
        assert told in page.one("span", id=f"{field}-problem").text, changes
        for name in ("since", "until", "model"):
            assert page.one("input", name=name).attributes["value"] == (GIVEN | changes)[name]
    assert (await layer.list_jobs()).jobs == ()
    for address in (f"{REPRICE}/{new_id()}", f"{REPRICE}/x"):
        assert (await ada.get(address)).status_code == 404
        assert (await posted(ada, form, f"{address}/apply")).status_code == 404
