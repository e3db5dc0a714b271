"""The costs of past calls at `/admin/money/reprice`: a dry run, and what it has shown is done."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from datalayer import InvalidRecord, JobFailed, Price, StorageUnavailable, acting_as
from datalayer.billing import repricing
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import CallFilter, plain_amount
from tests.support.calls import call
from tests.support.job_process import TIMES
from tests.support.pages import Element, read_page, table
from tests.support.patience import until
from tests.support.records import new_id
from tests.support.safe_pages import page_at, posted
from tests.web.conftest import Browser
from threadkeeper.jobs.repricing import OF, PLAN

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
    _, again = await ended(ada, await posted(ada, form, f"{address}/apply"))
    assert "have changed since the dry run" in again.text
    (details,) = await noted(layer)
    assert details.items() >= {"job": applied.rpartition("/")[2], "changed": "2", "after": "5"}.items()
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
    assert await noted(layer) == []
    assert "$14.00" in page.text, "the new dry run"
    _, page = await ended(ada, await posted(ada, page, f"{new_address}/apply"))
    assert await costs(layer) == [9, 7, 7]


async def noted(layer: ChainlitLayer) -> list[dict[str, Any]]:
    """The details of the rows in the audit for costs that ada has recalculated."""
    with acting_as("ada"):
        entries = (await layer.list_audit()).entries
    return [one.details or {} for one in entries if (one.action, one.actor) == ("reprice", "ada")]


async def test_who_confirms_while_another_one_runs_is_told(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    await calls_and_price(layer)
    form = await page_at(ada, REPRICE)
    first, page = await ended(ada, await posted(ada, form, REPRICE, **GIVEN))
    second, _ = await ended(ada, await posted(ada, form, REPRICE, **GIVEN | {"model": "house"}))
    await layer.stop_jobs()
    begun = await posted(ada, page, f"{first}/apply")
    refused = (await posted(ada, page, f"{second}/apply")).headers["location"]
    assert refused == f"{second}?busy=1"
    assert "Another recalculation is running" in (await page_at(ada, refused)).text
    twice = await posted(ada, page, f"{first}/apply")
    assert twice.headers["location"] == begun.headers["location"]
    assert await noted(layer) == [], "nothing is done yet"
    layer.run_jobs(TIMES)
    address, _ = await ended(ada, begun)
    assert [one["job"] for one in await noted(layer)] == [address.rpartition("/")[2]]


class Interrupted:
    """A job that is run again, with the results of its steps."""

    owner, interruptions, cancelled = None, 0, False

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.job_id, self.arguments = new_id(), arguments
        self._steps: dict[str, str] = {}

    async def step(self, name: str, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        if name not in self._steps:
            self._steps[name] = json.dumps(await function(*args))
        return json.loads(self._steps[name])


@pytest.mark.parametrize("changes", ["nothing", "own", "published"])
async def test_prices_that_change_while_it_is_interrupted_stop_it(
    layer: ChainlitLayer, ada: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, changes: str
) -> None:
    for minute, cost in enumerate((None, Decimal(1))):
        at = f"2026-03-10T12:0{minute}:00.000000Z"
        await layer.record_call(call(at, model="house", prompt_tokens=1_000_000, total_cost=cost))
    await layer.add_price(Price(new_id(), "house", "2026-01-01", Decimal("2.5"), Decimal(0)))
    address, _ = await ended(ada, await posted(ada, await page_at(ada, REPRICE), REPRICE, **GIVEN))
    dry = await layer.get_job(address.rpartition("/")[2])
    assert dry is not None
    job: Any = Interrupted(dict(dry.arguments) | {PLAN: dry.result["fingerprint"], OF: dry.id})
    work = layer._job_kinds["reprice", 1].work
    store, stored = repricing.store, 0

    async def once(*args: Any) -> None:
        nonlocal stored
        stored += 1
        if stored == 2:
            raise InvalidRecord("it ends here")
        await store(*args)

    monkeypatch.setattr(repricing, "AT_ONCE", 1)
    monkeypatch.setattr(repricing, "store", once)
    with pytest.raises(InvalidRecord):
        await work(job)
    assert await costs(layer) == [Decimal("2.5"), 1]
    (part,) = await noted(layer)
    assert (part["part_of"], part["ended"], part["changed"], part["after"]) == (job.job_id, "failed", "1", "2.5")
    if changes == "published":
        monkeypatch.setattr("threadkeeper.pricing.repricing.version", lambda _name: "0")
        for _ in range(2):
            with pytest.raises(JobFailed, match="published prices"):
                await work(job)
        assert [one["changed"] for one in await noted(layer) if "job" in one] == ["unknown"]
    else:
        if changes == "own":
            await layer.add_price(Price(new_id(), "house", "2026-02-01", Decimal(7), Decimal(0)))
        done = await work(job)
        is_stopped = changes == "own"
        assert (done["applied"], done["differs"], done.get("stopped", False)) == (True, is_stopped, is_stopped)
        figures = (
            {"changed": "1", "before": "0", "after": "2.5"}
            if is_stopped
            else {"changed": "2", "before": "1", "after": "5"}
        )
        assert [str(done["by_model"][0][name]) for name in figures] == list(figures.values())
        assert await work(job) == done
        (details,) = [one for one in await noted(layer) if "job" in one]
        assert details.items() >= figures.items()
    assert await costs(layer) == [Decimal("2.5"), Decimal("2.5") if changes == "nothing" else 1]


async def test_what_was_done_before_it_was_cancelled_is_in_the_audit_or_the_log(
    layer: ChainlitLayer, ada: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for minute in range(4):
        at = f"2026-03-10T12:0{minute}:00.000000Z"
        await layer.record_call(call(at, model="house", prompt_tokens=1_000_000, total_cost=None))
    await layer.add_price(Price(new_id(), "house", "2026-01-01", Decimal("2.5"), Decimal(0)))
    address, _ = await ended(ada, await posted(ada, await page_at(ada, REPRICE), REPRICE, **GIVEN))
    dry = await layer.get_job(address.rpartition("/")[2])
    assert dry is not None
    job: Any = Interrupted(dict(dry.arguments) | {PLAN: dry.result["fingerprint"], OF: dry.id})
    work, store = layer._job_kinds["reprice", 1].work, repricing.store

    async def then_cancelled(*args: Any) -> None:
        await store(*args)
        job.cancelled = True

    monkeypatch.setattr(repricing, "AT_ONCE", 1)
    monkeypatch.setattr(repricing, "store", then_cancelled)
    for times in (1, 2):
        job.cancelled = False
        with pytest.raises(asyncio.CancelledError):
            await work(job)
        assert [(one["ended"], one["changed"], one["after"]) for one in await noted(layer)] == [
            ("cancelled", str(number), plain_amount(number * Decimal("2.5"))) for number in range(times, 0, -1)
        ]
    assert (await costs(layer)).count(None) == 2

    # Another process has the job, and each heartbeat cancels it here; then the database is away.
    note, noting, goes_on = layer.note_admin_act, asyncio.Event(), asyncio.Event()

    async def slowly(*args: Any, **details: Any) -> None:
        noting.set()
        await goes_on.wait()
        await note(*args, **details)

    async def away(*_args: Any, **_details: Any) -> None:
        raise StorageUnavailable("the database is away")

    monkeypatch.setattr(layer, "note_admin_act", slowly)
    job.cancelled = False
    running = asyncio.ensure_future(work(job))
    await noting.wait()
    for _ in range(2):
        running.cancel()
        await asyncio.wait([running], timeout=0)
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [one["changed"] for one in await noted(layer)] == ["3", "2", "1"]
    monkeypatch.setattr(layer, "note_admin_act", away)
    job.cancelled = False
    with pytest.raises(asyncio.CancelledError):
        await work(job)
    (told,) = [one for one in caplog.records if "not in the audit" in one.message]
    assert ("'changed': '4'" in told.message, vars(told)["job_id"]) == (True, job.job_id)


async def test_costs_without_a_price_become_unknown_if_that_is_chosen(
    layer: ChainlitLayer, ada: httpx.AsyncClient
) -> None:
    await calls_and_price(layer)
    form = await page_at(ada, REPRICE)
    address, page = await ended(ada, await posted(ada, form, REPRICE, **GIVEN | {"model": "gone", "forget": "1"}))
    assert "The cost of one call without a price today becomes unknown." in page.text
    await ended(ada, await posted(ada, page, f"{address}/apply"))
    assert await costs(layer) == [1, None, None]
    assert [one["forgotten"] for one in await noted(layer)] == ["1"]


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
