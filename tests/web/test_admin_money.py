"""The price list at `/admin/money`, and the operator's prices."""

import threading
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from datalayer import Price, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in, utc_now
from tests.support.calls import call
from tests.support.pages import Element, read_page, table
from tests.support.records import new_id
from tests.support.safe_pages import page_at, posted, runs_nothing
from tests.web.conftest import Browser
from threadkeeper.pricing.history import Named, Validity, price_history
from threadkeeper.web.admin import money

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

LIST, NEW, PRICES = "/admin/money", "/admin/money/prices/new", "/admin/money/prices"
PRICE_LIST = "/admin/money/price-list"
NAMES = ("model", "provider", "since", "input", "cached", "output", "image")


@pytest.fixture
async def ada(browser_of: Browser) -> httpx.AsyncClient:
    return await browser_of("admin")


async def called(layer: ChainlitLayer, model: str, days: float = 1.0, **fields: Any) -> str:
    """A call with tokens; returns its time."""
    at = utc_in(-days * 86_400)
    values = {"provider": "models.example", "prompt_tokens": 1_000_000, "completion_tokens": 0, **fields}
    await layer.record_call(call(at, model=model, **values))
    return at


def shown(page: Element) -> list[list[str]]:
    return table(page, "rows prices")


def problem(page: Element, name: str) -> str:
    """The sentence at a field, which the field refers to."""
    field = page.one("input", name=name)
    assert field.attributes["aria-invalid"] == "true"
    assert f"{name}-problem" in field.attributes["aria-describedby"].split()
    return page.one("span", id=f"{name}-problem").text


async def test_each_model_in_use_shows_the_price_that_wins_and_since_when(
    layer: ChainlitLayer, ada: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await called(layer, "house-model")
    await called(layer, "gpt-4o-mini", provider="openai", total_cost=Decimal(1))
    await called(layer, "asked", answered_by="answered")
    await called(layer, "of long ago", days=100)
    await layer.add_price(Price(new_id(), "answered", "2026-03-01", Decimal("2.125"), Decimal(3), provider=None))
    rows = {row[0].split()[0]: row for row in shown(await page_at(ada, LIST))}
    assert rows["house-model"] == ["house-model one call without a cost", "models.example", "Set a price"]
    assert rows["asked"][2:] == ["your own", "2026-03-01 00:00", "$2.125", "$2.125", "$3.00"]
    assert rows["gpt-4o-mini"][2:] == ["published", "always", "$0.15", "$0.075", "$0.60"]
    assert rows["large"][1] == "models.example", "it is configured, and was not called"
    assert "of" not in rows
    computed = []

    def history(named: Named, *others: Any) -> list[Validity]:
        computed.append((named.model, threading.current_thread() is threading.main_thread()))
        return price_history(named, *others)

    monkeypatch.setattr(money, "price_history", history)
    assert [row[0] for row in shown(await page_at(ada, f"{LIST}?words=GPT-4O"))] == ["gpt-4o-mini"]
    assert computed == [("gpt-4o-mini", False)], "of the rows that are shown, and in a thread"
    page = await page_at(ada, f"{LIST}?words=nothing%20like%20this")
    assert "Nothing was found." in page.text


async def test_a_model_without_a_price_gets_one_from_where_it_is_seen(
    layer: ChainlitLayer, ada: httpx.AsyncClient, people: dict[str, User], browser_of: Browser
) -> None:
    name = "house (v1.5)+"
    at = await called(layer, name, days=3, user_id=people["user"].id)
    call_id = new_id()
    await layer.record_call(call(at, id=call_id, model=name, provider="models.example", prompt_tokens=5))
    for address in ("/usage", f"/usage/calls/{call_id}", LIST):
        (link,) = [
            one.attributes["href"]
            for one in (await page_at(ada, address)).all("a")
            if one.attributes["href"].startswith(f"{NEW}?model={quote(name)}".replace("%20", "+"))
            or one.attributes["href"].startswith(f"{NEW}?model={quote(name)}")
        ]
        form = await page_at(ada, link)
        assert form.one("input", name="model").attributes["value"] == r"house \(v1\.5\)\+"
        assert form.one("input", name="since").attributes["value"] == at[:10], "the first call without a cost"
    assert "/admin/money" not in (await (await browser_of("user")).get("/usage")).text
    ada.headers["accept-language"] = "de"
    done = await posted(
        ada, form, PRICES, model=r"house \(v1\.5\)\+", provider="", since=at[:10], input="1,25", output="0", image=""
    )
    assert done.status_code == 303, done.text
    del ada.headers["accept-language"]
    page = await page_at(ada, done.headers["location"])
    assert "2 calls of these models since then have no cost." in page.text
    (price,) = await layer.list_prices()
    assert (price.input, price.output, price.cached, price.provider) == (Decimal("1.25"), Decimal(0), None, None)
    assert name in page.text, "the model that has the price"
    assert "your own" in (await page_at(ada, f"{LIST}?words=house")).one("table", class_="rows prices").text
    with acting_as("ada"):
        (entry,) = (await layer.list_audit()).entries
    assert (entry.action, entry.actor, entry.details) == (
        "add_price",
        "ada",
        {"prices": [price.id], "models": [price.pattern], "count": 1},
    )


async def test_what_is_not_valid_is_told_at_its_field_and_kept(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    form = await page_at(ada, NEW)
    good = {"model": "m", "provider": "", "since": "", "input": "1", "cached": "", "output": "2", "image": ""}
    for language, name, value, told in (
        ("en", "input", "1.000", "can mean two numbers. Write it like 1234.5."),
        ("en", "input", "2,5", "can mean two numbers"),
        ("de", "input", "2.5", "Schreiben Sie sie wie 1234,5."),
        ("de", "output", "1,000", "kann zwei Zahlen"),
        ("en", "output", "-1", "is not a number from 0 to 1,000,000"),
        ("en", "cached", "1000001", "is not a number from 0"),
        ("en", "image", "0.0000000000001", "twelve decimal places"),
        ("en", "input", "", "Fill in this field."),
        ("en", "input", "NaN", "is not a number"),
        ("en", "input", "1e3", "is not a number"),
        ("en", "model", "", "Fill in this field."),
        ("en", "model", "(a+)+", "no regular expression"),
        ("en", "model", "x" * 201, "at most 200 characters"),
        ("en", "since", "the ides of March", "is not a valid date"),
        ("en", "provider", "x" * 301, "more than 300 characters"),
    ):
        ada.headers["accept-language"] = language
        refused = await posted(ada, form, PRICES, **good | {name: value})
        assert refused.status_code == 400, (name, value)
        page = read_page(refused.text)
        runs_nothing(page)
        assert told in problem(page, name), (name, value)
        kept = {one: page.one("input", name=one).attributes["value"] for one in NAMES}
        assert kept == good | {name: value}, "what was typed"
        assert page.one("a", href=f"#{name}").text
    assert await layer.list_prices() == []
    with acting_as("ada"):
        assert (await layer.list_audit()).entries == ()
    ada.headers["accept-language"] = "de"
    assert (await posted(ada, form, PRICES, **good | {"input": "1.000"})).status_code == 303
    assert [one.input for one in await layer.list_prices()] == [1000]


async def test_a_price_is_copied_ended_and_overridden(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    await called(layer, "house")
    old = await layer.add_price(Price(new_id(), "hou.*", "2026-03-01", Decimal("1.125"), Decimal("0.075")))
    new = await layer.add_price(Price(new_id(), "house", "2026-04-01", Decimal(2), Decimal(2)))
    later = await layer.add_price(Price(new_id(), "house", utc_in(86_400), Decimal(3), Decimal(3)))
    same = await layer.add_price(Price(new_id(), "hou.*", "2026-02-01", Decimal(9), Decimal(9)))
    states = {row[0]: row[2] for row in shown(await page_at(ada, f"{LIST}?list=own"))}
    assert states["house"] in ("valid", "begins later")
    page = await page_at(ada, f"{PRICES}/{old.id}")
    assert "another price comes before this one" in page.text
    assert {one.attributes["href"] for one in page.all("a")} >= {f"{PRICES}/{new.id}", f"{PRICES}/{later.id}"}
    assert "Match, but have another price now house" in page.text
    assert "replaced by a newer one" in (await page_at(ada, f"{PRICES}/{same.id}")).one("h1").text
    history = table(await page_at(ada, "/admin/money/model?model=house&provider=models.example"), "rows prices")
    assert [row[2].split()[:2] for row in history] == [["your", "own"]] * 4 + [["no", "price:"]][:0] or len(
        history
    ) == 5
    assert [row[3] for row in history[:4]] == ["$3.00", "$2.00", "$1.125", "$9.00"]
    assert "now" in history[1][0], "which wins"
    assert "no price" in history[4][2]
    copied = await page_at(ada, f"{NEW}?like={old.id}")
    assert [copied.one("input", name=name).attributes["value"] for name in ("model", "input", "output")] == [
        *("hou.*", "1.1250", "0.075"),
    ]
    ended = await posted(ada, page, f"{PRICES}/{old.id}/end")
    assert ended.headers["location"] == f"{PRICES}/{old.id}"
    await posted(ada, page, f"{PRICES}/{old.id}/end")
    page = await page_at(ada, f"{PRICES}/{old.id}")
    assert "ended" in page.one("h1").text
    assert not page.all("section", id="end")
    await called(layer, "lone")
    alone = await layer.add_price(Price(new_id(), "lone", "2026-03-01", Decimal(1), Decimal(1), is_active=False))
    assert "have another price now" not in (await page_at(ada, f"{PRICES}/{alone.id}")).text, "it has none"
    with acting_as("ada"):
        entries = (await layer.list_audit()).entries
    assert [(one.action, one.actor, one.details) for one in entries if one.actor] == [
        ("end_price", "ada", {"price": old.id})
    ], "ended once"
    for address in (f"{PRICES}/{new_id()}", f"{PRICES}/x/end", f"{NEW}?like=nothing"):
        answer = await (posted(ada, await page_at(ada, NEW), address) if "end" in address else ada.get(address))
        assert answer.status_code == 404


async def test_the_published_prices_are_searched_and_paged(ada: httpx.AsyncClient) -> None:
    page = await page_at(ada, f"{LIST}?list=published")
    first = shown(page)
    assert len(first) == 50
    second = await page_at(ada, page.one("a", rel="next").attributes["href"])
    assert len(shown(second)) == 50
    assert shown(second)[0] != first[0]
    assert shown(await page_at(ada, second.one("a", rel="prev").attributes["href"])) == first
    found = await page_at(ada, f"{LIST}?list=published&words=gpt-4o-mini")
    rows = [row for row in shown(found) if row[:2] == ["gpt-4o-mini", "OpenAI"]]
    assert rows[0][3:6] == ["$0.15", "$0.075", "$0.60"]
    link = next(one for one in found.all("a") if one.attributes["href"].endswith("model=gpt-4o-mini&provider=openai"))
    form = await page_at(ada, link.attributes["href"])
    assert form.one("input", name="provider").attributes["value"] == "openai"
    for bad in ("page=0", "page=x", "page=99999999", "list=none", f"words={'x' * 301}", "page=%C2%B2"):
        assert (await ada.get(f"{LIST}?{bad}")).status_code == 400, bad
    assert (await ada.get("/admin/money/model")).status_code == 404
    assert (await ada.get(f"/admin/money/model?model={'x' * 301}")).status_code == 400


async def test_nothing_that_is_stored_runs_and_every_language_has_the_pages(
    layer: ChainlitLayer, ada: httpx.AsyncClient
) -> None:
    hostile = '"><img src=x onerror=alert(1)>{{7*7}}'
    await called(layer, hostile, provider=hostile)
    price = await layer.add_price(Price(new_id(), r"<script>alert\(1\)</script>", utc_now(), Decimal(1), Decimal(1)))
    addresses = (LIST, f"{LIST}?list=own", f"{NEW}?model={quote(hostile)}", f"{PRICES}/{price.id}")
    for address in (*addresses, f"/admin/money/model?model={quote(hostile)}"):
        page = await page_at(ada, address)
        assert "49" not in page.text.replace("2049", "")
        assert not page.all("img", src="x")
        for language in ("de", "es", "fr", "ja", "zh"):
            answer = await ada.get(address, headers={"accept-language": language})
            assert (answer.status_code, f'lang="{language}' in answer.text) == (200, True)


async def test_a_price_list_is_shown_before_it_is_stored(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    token = (await page_at(ada, PRICE_LIST)).one("input", name="form_token").attributes["value"]

    async def shown_of(name: str, content: bytes) -> httpx.Response:
        return await ada.post(PRICE_LIST, data={"form_token": token}, files={"file": (name, content)})

    bad = await shown_of("p.csv", b"model,input,output\nhouse,1\nother,x,2\n")
    page = read_page(bad.text)
    assert (bad.status_code, await layer.list_prices()) == (400, [])
    told = [one.text for one in page.one("div", role="alert").all("li")]
    assert told == ["line 2: output is missing.", "line 3: input must be a number such as 0.15, not “x”."]
    ada.headers["accept-language"] = "de"
    wrong = b"m,1,2e6,,,\nm,1,1,2,3,4,5\n(,1,1,,,\nm,1,1,,,soon\n"
    bad = await shown_of("p.csv", b"model,input,output,cached,provider,valid_from\n" + wrong)
    said = [" ".join(one.text.split()[2:5]) for one in read_page(bad.text).one("div", role="alert").all("li")]
    assert said == ["output muss zwischen", "Es gibt mehr", "Dies ist kein", "valid_from ist kein"]
    del ada.headers["accept-language"]
    for name, content in (
        ("p.txt", b"x"),
        ("p.json", b"[" * 100_000),
        ("p.csv", b"\xff"),
        ("p.json", b"{}"),
        ("p.json", b'[{"model": "m", "output": 1, "input": ' + b"1" * 5_000 + b"}]"),
        ("p.json", b'[{"\\ud800": 1}]'),
        ("p.json", b'[{"model": ["m"], "input": 1, "output": 1}]'),
        ("p.json", b'[{"model": "m", "output": 1, "input": "\\ud800"}]'),
        ("p.csv", b'model,input,output\n"m,1,1\n'),
        ("p.csv", b"model,input,output\nm,NaN,1e999999\n"),
        ("", b""),
    ):
        assert (await shown_of(name, content)).status_code == 400, content[:60]
    row = b"m,1,1\n"
    many = await shown_of("p.csv", b"model,input,output\n" + row * 2_001)
    assert (many.status_code, "contains more than 2,000 prices" in many.text) == (400, True)
    large = await shown_of("p.csv", b"x" * 400_000)
    assert (large.status_code, "larger than 300 kB" in large.text) == (413, True)
    later = await layer.add_price(Price(new_id(), "house", utc_in(86_400), Decimal(3), Decimal(3)))
    lines = b"house;1.5;2;2026-03-01", b"<b>;0;0;", *(b"hou.*;1;%d;2026-03-01" % number for number in range(6))
    good = await shown_of("p.csv", b"\n".join([b"model;input;output;valid_from", *lines]))
    page = read_page(good.text)
    runs_nothing(page)
    assert (good.status_code, await layer.list_prices()) == (200, [later]), "nothing is stored yet"
    rows = shown(page)
    assert rows[0][2:] == ["2026-03-01 00:00", "$1.50", "–", "$2.00", "–"]
    # A stored price, and the later rows of the same time: the last one holds.
    assert "another price comes before" in rows[0][0] and rows[1][0] == "<b>"
    assert rows[0][0].count("in this file") == 4 and rows[0][0].endswith("2 more are not shown.")
    assert [one.attributes["href"] for one in page.one("table", class_="rows prices").all("a")] == [
        f"{PRICES}/{later.id}"
    ] * 7
    assert [row[0].count("in this file") for row in rows[2:]] == [4, 4, 3, 2, 1, 0]
    fields = {one.attributes["name"]: one.attributes["value"] for one in page.all("input", type="hidden")}
    for _ in range(2):
        done = await ada.post(f"{PRICE_LIST}/store", data=fields)
        assert done.headers["location"] == "/admin/money?list=own&added=8"
    assert "8 prices were set." in (await page_at(ada, done.headers["location"])).text
    kept = {one.pattern: (one.input, one.output, one.valid_from) for one in reversed(await layer.list_prices())}
    assert len(await layer.list_prices()) == 9, "stored once"
    assert kept.keys() == {"house", "<b>", "hou.*"} and kept["<b>"] == (Decimal(0), Decimal(0), fields["now"])
    assert kept["hou.*"][1] == Decimal(5), "the last row"
    for changes in ({"content": "!"}, {"content": ""}, {"now": "soon"}, {"name": "p.exe"}):
        assert (await ada.post(f"{PRICE_LIST}/store", data=fields | changes)).status_code == 400, changes
    audit = table(await page_at(ada, "/review/audit"), "audit")
    assert (audit[0][1], audit[0][3]) == ("ada", "house, <b>, hou.* and 5 more")
    assert len([row for row in audit if row[2] == "added a price"]) == 2
