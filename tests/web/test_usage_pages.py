"""The usage pages: access, contents, and that stored text does not run on them."""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI

import datalayer
from datalayer import Project, User
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cursors import encode
from datalayer.records.usage import LlmCallPayload
from tests.support.calls import call
from tests.support.pages import Element, read_page, table
from tests.support.records import new_id, thread
from tests.web.conftest import Browser
from threadkeeper.web.auth.gate import Gate
from threadkeeper.web.mount import mount
from threadkeeper.web.routers import all_routers
from threadkeeper.web.usage import overview

DAY = "period=custom&from=2026-03-10&to=2026-03-10"
HOSTILE = "\"><img src=x onerror=alert(1)><script>alert(2)</script>'{{7*7}}"


async def record(layer: ChainlitLayer, clock: str = "12:00", **fields: Any) -> str:
    """Record a call on 10 March, by default with a cost of one cent; returns its id."""
    payload = fields.pop("payload", None)
    day = fields.pop("day", "2026-03-10")
    values = {"prompt_tokens": 100, "completion_tokens": 20, "total_cost": Decimal("0.01"), **fields}
    made = call(f"{day}T{clock}:00.000000Z", **values)
    await layer.record_call(made, payload and LlmCallPayload(made.id, *payload))
    return made.id


async def page_at(browser: httpx.AsyncClient, address: str, status: int = 200) -> Element:
    answer = await browser.get(address)
    assert answer.status_code == status, answer.text
    assert_runs_nothing(answer)
    return read_page(answer.text)


def assert_runs_nothing(answer: httpx.Response) -> None:
    """The policy allows only our own scripts, and the page contains nothing else that could run."""
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "'unsafe-inline'" not in policy["style-src"] or "data-figure" in answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    page = read_page(answer.text)
    for script in page.all("script"):
        assert script.attributes["src"].startswith("/assets/threadkeeper/")
        assert not script.text
    for element in (one for tag in ("a", "link", "img", "form", "div", "meter", "th", "td") for one in page.all(tag)):
        for name, value in element.attributes.items():
            assert not name.startswith("on")
            assert name != "style"
            if name in ("href", "src", "action"):
                assert not urlsplit(value).scheme
                assert not urlsplit(value).netloc


def tiles(page: Element) -> dict[str, str]:
    """The large numbers by their labels."""
    found = page.all("dl", class_="tiles")[0]
    return {tile.one("dt").text: " ".join(part.text for part in tile.all("dd")) for tile in found.all("div")}


# Whose calls


async def test_a_user_sees_their_own_calls_and_an_admin_all(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    ids = {role: await record(layer, user_id=person.id, model=f"{role}-model") for role, person in people.items()}
    for role in people:
        browser = await browser_of(role)
        # Another user's id in the URL changes nothing for a user who cannot filter by user.
        page = await page_at(browser, f"/usage?{DAY}" + ("" if role == "admin" else f"&user={people['admin'].id}"))
        seen = {f"{one}-model" for one in people} if role == "admin" else {f"{role}-model"}
        assert {row[0] for row in table(page, "groups")} == seen
        assert tiles(page)["Calls"] == str(len(seen))
        calls = await page_at(browser, f"/usage/calls?{DAY}")
        assert len(table(calls, "calls")) == len(seen)
        exported = (await browser.get(f"/usage/export.jsonl?{DAY}")).text.splitlines()
        assert {json.loads(line)["model"] for line in exported} == seen
        for owner, call_id in ids.items():
            status = 200 if role in (owner, "admin") else 404
            await page_at(browser, f"/usage/calls/{call_id}", status)
        assert (await browser.get(f"/usage?{DAY}&by=user")).status_code == (200 if role == "admin" else 400)
    everyone = await page_at(await browser_of("admin"), f"/usage?{DAY}&by=user&user={people['user'].id}")
    assert [row[0] for row in table(everyone, "groups")] == [people["user"].identifier]
    assert f"User: {people['user'].identifier}" in everyone.one("p", class_="chips").text


async def test_only_the_owner_gets_a_link_to_the_thread(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    owner = people["user"].id
    thread_id = await thread(layer, owner)
    call_id = await record(layer, user_id=owner, thread_id=thread_id)
    for role, linked in (("user", True), ("admin", False)):
        page = await page_at(await browser_of(role), f"/usage/calls/{call_id}")
        assert bool(page.all("a", href=f"/thread/{thread_id}")) is linked


# Contents


async def test_totals_are_compared_with_the_previous_day(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    owner = people["user"].id
    for clock in ("09:00", "10:00"):
        await record(layer, clock, day="2026-03-09", user_id=owner)
    for clock in ("12:00", "12:04", "15:00"):
        await record(layer, clock, user_id=owner, completion_tokens=600, seconds=2.0, first_token_seconds=0.25)
    await record(layer, "13:00", user_id=owner, status_code=500, prompt_tokens=None, completion_tokens=None)
    page = await page_at(await browser_of("user"), f"/usage?{DAY}")
    shown = tiles(page)
    assert shown["Calls"].startswith("4 ↑ from 2 to 4")
    assert shown["Cost"].startswith("$0.04 ↑ from $0.02 to $0.04")
    assert shown["Errors"].startswith("25%")
    assert shown["Speed"].startswith("300")
    assert shown["Time to first token, median"].startswith("250 ms")
    figures = [json.loads(one.attributes["data-figure"]) for one in page.all("div", class_="chart")]
    assert len(figures) == 5
    succeeded = figures[2]["data"][0]
    assert len(succeeded["x"]) == 24
    assert (succeeded["y"][12], sum(succeeded["y"])) == (2, 3)
    rows = [[cell.text for cell in row.children if isinstance(cell, Element)] for row in page.all("table")[2].all("tr")]
    assert rows[1:] == [
        ["2026-03-10 12:00", "2", "0"],
        ["2026-03-10 13:00", "1", "1"],
        ["2026-03-10 15:00", "1", "0"],
    ]


async def test_calls_without_tokens_are_free_and_interrupted_ones_marked(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    owner, none = people["user"].id, {"prompt_tokens": None, "completion_tokens": None, "total_cost": None}
    await record(layer, "12:00", user_id=owner, model="refused", status_code=429, error_kind="rate_limit", **none)
    await record(layer, "13:00", user_id=owner, model="ended", finish_reason="stopped")
    deep = "Response payload is not completed: <TransferEncodingError: 400, message='Not enough data'>. Reset(104)"
    broken = await record(layer, "14:00", user_id=owner, model="broken", error_kind="cut", error_message=deep)
    browser = await browser_of("user")
    overview = await page_at(browser, f"/usage?{DAY}")
    rows = {row[0]: row for row in table(overview, "groups")}
    assert rows["refused"][1:3] == ["–", "–"]
    calls = {row[1]: row for row in table(await page_at(browser, f"/usage/calls?{DAY}"), "calls")}
    assert calls["refused"][2:4] == ["–", "–"]
    assert [calls[model][5] for model in ("ended", "broken")] == ["200 stopped", "200 cut off"]
    chinese = {"accept-language": "zh-CN"}
    answer = await browser.get(f"/usage/calls?{DAY}", headers=chinese)
    assert "已停止" in answer.text
    assert "200 中断" in answer.text
    page = await page_at(browser, f"/usage/calls/{broken}")
    lines = {line.all("dt")[0].text: line.all("dd")[0].text for line in page.all("dl", class_="lines")[2].all("div")}
    assert lines["Error message"] == "Response payload is not completed …"
    assert "TransferEncodingError" in page.all("pre", class_="raw")[0].text


async def test_an_unknown_price_is_not_zero_and_estimates_are_marked(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    owner, browser = people["user"].id, await browser_of("user")
    call_id = await record(layer, user_id=owner, model="local", total_cost=None, is_estimated=True)
    page = await page_at(browser, f"/usage?{DAY}")
    assert tiles(page)["Cost"] == "unknown no price is configured"
    assert "no price is configured for these models" in page.one("p", class_="undrawn quiet").text
    assert "partly estimated (1)" in tiles(page)["Tokens"]
    assert table(page, "groups")[0][:3] == ["local", "unknown", "120 ≈"]
    assert "$0" not in page.one("main").text
    assert table(await page_at(browser, f"/usage/calls?{DAY}"), "calls")[0][2:4] == ["unknown", "120 ≈"]
    one = (await page_at(browser, f"/usage/calls/{call_id}")).one("main").text
    assert "Total unknown" in one
    assert "Tokens (estimated)" in one

    failed = {"prompt_tokens": None, "completion_tokens": None, "total_cost": None, "status_code": 500}
    await record(layer, "12:01", user_id=owner, **failed)
    assert table(await page_at(browser, f"/usage/calls?{DAY}"), "calls")[0][2:4] == ["–", "–"]
    await record(layer, user_id=owner, model="paid")
    page = await page_at(browser, f"/usage?{DAY}")
    assert tiles(page)["Cost"].startswith("$0.01 without calls of unknown price (1)")
    assert "$0.01 + unknown for 1" in page.all("table")[0].text


async def test_stored_text_is_escaped(layer: ChainlitLayer, people: dict[str, User], browser_of: Browser) -> None:
    call_id = await record(
        layer,
        user_id=people["user"].id,
        model=HOSTILE,
        provider=HOSTILE,
        assistant=HOSTILE,
        kind=HOSTILE,
        tags=(HOSTILE,),
        error_kind=HOSTILE,
        error_message=HOSTILE,
        finish_reason=HOSTILE,
        price={"source": HOSTILE},
        payload=([{"role": HOSTILE, "content": [{"type": "text", "text": HOSTILE}, {"type": HOSTILE}]}], HOSTILE),
    )
    browser = await browser_of("user")
    for dimension in ("model", "provider", "assistant", "kind", "tag"):
        answer = await browser.get("/usage", params=f"{DAY}&by={dimension}")
        assert_runs_nothing(answer)
        page = read_page(answer.text)
        assert table(page, "groups")[0][0] == HOSTILE
        (link,) = (row.all("a")[0].attributes["href"] for row in page.one("table", class_="groups").all("tr")[1:])
        chosen = await page_at(browser, link)
        assert HOSTILE in chosen.one("p", class_="chips").text
    # Plotly reads tags in names.
    figure = json.loads(page.all("div", class_="chart")[0].attributes["data-figure"])
    assert "<" not in figure["data"][0]["name"]
    one = await page_at(browser, f"/usage/calls/{call_id}")
    assert [message.one("pre").text for message in one.all("article")] == [f"{HOSTILE} [{HOSTILE}]", HOSTILE]
    assert json.loads(one.one("pre", class_="raw").text)["model"] == HOSTILE
    assert HOSTILE in (await page_at(browser, f"/usage/calls?{DAY}")).one("table", class_="calls").text
    assert not one.all("img", src="x")


async def test_the_page_of_a_call_is_complete(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    call_id = await record(
        layer,
        user_id=people["user"].id,
        answered_by="gpt-x-2026",
        input_cost=Decimal("0.000000012"),
        price={"source": "own", "output": "10", "input": "2.5", "image": "0.01"},
        payload=([{"role": "user", "content": "x" * 30_000}], "the answer"),
    )
    browser = await browser_of("user")
    page = await page_at(browser, f"/usage/calls/{call_id}")
    text = page.one("main").text
    price = "Price source own Per million tokens in $2.5, out $10 Other charges image: 0.01"
    for expected in ("Answered by gpt-x-2026", "Input $0.000000012", price, "the answer"):
        assert expected in text
    assert "Shortened here" in text
    raw = json.loads(page.one("pre", class_="raw").text)
    assert raw["messages"][0]["content"] == "x" * 30_000
    assert raw["input_cost"] == "0.000000012"
    assert raw["user"] == people["user"].identifier
    unkept = await record(layer, user_id=people["user"].id)
    assert "are not stored" in (await page_at(browser, f"/usage/calls/{unkept}")).one("main").text
    for nonsense in (new_id(), "no-id", "%00"):
        await page_at(browser, f"/usage/calls/{nonsense}", 404)


async def test_the_pages_of_the_list_contain_every_call_once(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    owner, browser = people["user"].id, await browser_of("user")
    costs = [Decimal(number % 7) / 100 for number in range(120)]
    for number, cost in enumerate(costs):
        await record(layer, f"{number // 60:02}:{number % 60:02}", user_id=owner, total_cost=cost)
    for order, direction in (("requested_at", ""), ("cost", ""), ("cost", "up"), ("tokens", "up"), ("seconds", "")):
        address, seen = f"/usage/calls?{DAY}&order={order}&direction={direction}", []
        while address:
            page = await page_at(browser, address)
            seen += [(link.attributes["href"], link.text) for link in page.one("tbody").all("a")]
            following = page.all("a", rel="next")
            address = following[0].attributes["href"] if following else ""
        assert len(set(seen)) == len(seen) == 120
        if order == "requested_at":
            assert [time for _, time in seen] == sorted((time for _, time in seen), reverse=True)
    await page_at(browser, f"/usage/calls?{DAY}&cursor=nonsense", 400)
    await page_at(browser, f"/usage/calls?{DAY}&cursor={'x' * 3000}", 400)


async def test_the_groups_come_by_pages_with_the_sums_of_the_rest(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "GROUPS_A_PAGE", 2)
    owner, browser = people["user"].id, await browser_of("user")
    for number in range(5):
        await record(layer, user_id=owner, model=f"model-{number}", total_cost=Decimal(number + 1))
    address, seen, rests = f"/usage?{DAY}&by=model", [], []
    while address:
        page = await page_at(browser, address)
        groups = page.one("table", class_="groups")
        seen += [link.text for link in groups.one("tbody").all("a")]
        rests += [[cell.text for cell in foot.all("th") + foot.all("td")][:5] for foot in groups.all("tfoot")]
        assert len(page.all("a", rel="next")) == (len(seen) < 5)
        address = next((link.attributes["href"] for link in page.all("a", rel="next")), "")
    assert seen == [f"model-{number}" for number in (4, 3, 2, 1, 0)]
    assert rests == [["3 more", "$6.00", "360", "3", "0"], ["1 more", "$1.00", "120", "1", "0"]]
    await page_at(browser, f"/usage?{DAY}&cursor=nonsense", 400)
    assert not (await page_at(browser, f"/usage?{DAY}&cursor={encode('usage', 'model', 'cost', '500')}")).all("tfoot")


async def test_calls_are_filtered_by_all_tags_a_providers_model_a_project_and_the_status(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    me = people["user"].id
    mine = await layer.put_project(Project(new_id(), "Mine", "mine", owner="uma", organisation="Institute"))
    theirs = await layer.put_project(Project(new_id(), "Theirs", "theirs", owner="rita"))
    await record(layer, "09:00", user_id=me, model="both", tags=("a", "b"), project_id=mine.id)
    await record(layer, "10:00", user_id=me, model="a.b", tags=("a",), provider="local")
    await record(layer, "11:00", user_id=me, model="bad", status_code=500, total_cost=None)
    browser = await browser_of("user")

    async def shown(query: str) -> list[str]:
        page = await page_at(browser, f"/usage/calls?{DAY}&{query}")
        return [row[1] for row in table(page, "calls")]

    assert await shown("all_tag=a&all_tag=") == ["a.b", "both"]
    assert await shown("all_tag=a&all_tag=b") == ["both"]
    assert await shown("provider_model=local.a.b") == ["a.b"]
    assert await shown(f"project={mine.id}") == ["both"]
    assert await shown("status=5&status=0") == ["bad"]
    page = await page_at(browser, f"/usage/calls?{DAY}&all_tag=a&status=2&order=cost&direction=up")
    form = next(one for one in page.all("form") if one.all("fieldset"))
    given = [(one.attributes["name"], one.attributes.get("value", "")) for one in form.all("input")]
    assert ("all_tag", "a") in given, "the tags so far, and one more"
    assert ("period", "custom") in given
    assert [one.attributes["value"] for one in form.all("input") if "checked" in one.attributes] == ["2"]
    selected = [one.attributes["value"] for one in form.all("option") if "selected" in one.attributes]
    assert selected == ["cost", "up"]
    assert "Theirs" not in form.text

    page = await page_at(browser, f"/usage/portfolio?{DAY}")
    assert [[row[0], *row[2:3], *row[4:7]] for row in table(page, "groups")] == [
        ["Other projects", "–", "$0.01 + unknown for 1", "240", "2"],
        ["Mine", "Institute", "$0.01", "120", "1"],
    ]
    link = page.one("table", class_="groups").all("a")[-1].attributes["href"]
    assert f"project={mine.id}" in link
    ada = await browser_of("admin")
    assert "Theirs" in (await page_at(ada, f"/usage/portfolio?{DAY}")).text
    page = await page_at(ada, f"/usage/portfolio?{DAY}&project={mine.id}")
    assert [row[0] for row in table(page, "groups")] == ["Mine"], "none of those without a call"
    page = await page_at(ada, f"/usage/portfolio?{DAY}&project={mine.id}&project={theirs.id}")
    assert [row[0] for row in table(page, "groups")] == ["Mine", "Theirs"]
    form = next(one for one in page.all("form") if one.all("fieldset"))
    kept = [one.attributes["value"] for one in form.all("option") if "selected" in one.attributes]
    kept += [one.attributes["value"] for one in form.all("input") if one.attributes["name"] == "project"]
    assert sorted(kept) == sorted([mine.id, theirs.id]), "the form keeps both"


async def test_days_begin_in_the_readers_time_zone(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    await record(layer, "23:30", user_id=people["user"].id)
    browser = await browser_of("user")
    assert tiles(await page_at(browser, f"/usage?{DAY}"))["Calls"] == "1"
    browser.cookies.set("time_zone", "Europe/Berlin")
    page = await page_at(browser, f"/usage?{DAY}")
    assert page.all("section", class_="empty")
    assert "Europe/Berlin" in page.one("main").text
    page = await page_at(browser, f"/usage?{DAY.replace('03-10', '03-11')}")
    assert tiles(page)["Calls"] == "1"
    listed = await page_at(browser, f"/usage/calls?{DAY.replace('03-10', '03-11')}")
    assert table(listed, "calls")[0][0] == "2026-03-11 00:30:00"
    for nonsense in ("Nowhere/At_All", "../../etc/passwd", "Europe", "x" * 1000):
        browser.cookies.set("time_zone", nonsense)
        assert "UTC" in (await page_at(browser, f"/usage?{DAY}")).one("main").text


async def test_an_empty_page_says_so(people: dict[str, User], browser_of: Browser) -> None:
    browser = await browser_of("user")
    for path in ("/usage", "/usage/calls"):
        page = await page_at(browser, path)
        assert "There are no calls to a model in this period" in page.one("section", class_="empty").text
        filtered = await page_at(browser, f"{path}?model=gpt-x")
        assert "Remove a filter" in filtered.one("section", class_="empty").text
        assert not page.all("div", class_="chart")


@pytest.mark.parametrize(
    "nonsense",
    [
        "period=yesterday",
        "period=custom",
        "period=custom&from=2026-02-30&to=2026-03-01",
        "period=custom&from=2026-03-10&to=2026-03-09",
        "period=custom&from=0001-01-01&to=9999-12-31",
        "period=custom&from=2026-03-10T00:00&to=%F0%9F%98%80",
        "interval=fortnight",
        "period=year&interval=5%20minutes",
        "period=today&interval=year",
        "by=shoe_size",
        "order=nonsense",
        "status=200",
        "status=%E2%91%A1",
        f"model={'x' * 301}",
        "&".join(f"model={number}" for number in range(21)),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_an_invalid_url_gets_a_plain_message(people: dict[str, User], browser_of: Browser, nonsense: str) -> None:
    browser = await browser_of("admin")
    page = await page_at(browser, f"/usage?{nonsense}", 400)
    assert page.one("h1").text == "Invalid URL"
    assert page.all("p")[0].text.endswith(".")
    answer = await browser.get(f"/usage?{nonsense}", headers={"Accept-Language": "zh-CN,zh;q=0.9"})
    assert "网址无效" in answer.text
    assert answer.headers["content-language"] == "zh-CN"
    if "by=" not in nonsense:
        assert (await browser.get(f"/usage/export.csv?{nonsense}")).json()["detail"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_odd_characters_in_a_url_cause_no_error(people: dict[str, User], browser_of: Browser) -> None:
    browser = await browser_of("admin")
    for odd in ("%00", "%ED%A0%80", "%FF", "'%22%3B--", "%F0%9F%98%80"):
        for name in ("model", "user", "project", "tag", "kind"):
            await page_at(browser, f"/usage?{name}={odd}")


async def test_the_page_reports_an_unreachable_storage(chainlit_app: FastAPI, serve: Any) -> None:
    from chainlit.auth import create_jwt  # noqa: PLC0415
    from chainlit.user import User as ChainlitUser  # noqa: PLC0415

    away = datalayer.create_data_layer("postgresql://nobody@127.0.0.1:1/nowhere")
    mount(chainlit_app, *all_routers(away), gate=Gate(away))
    headers = {"Authorization": f"Bearer {create_jwt(ChainlitUser(identifier='ada'))}", "Accept": "text/html"}
    async with serve() as client:
        answer = await client.get("/usage", headers=headers)
        assert answer.status_code == 503
        assert "cannot be reached" in read_page(answer.text).one("h1").text
        assert answer.headers["retry-after"] == "5"
        assert (await client.get("/usage/export.csv", headers=headers)).status_code == 503
    await away.close()


# What a page is made of


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_styles_and_scripts_are_compressed_and_cached(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    await record(layer, user_id=people["user"].id)
    browser, visitor = await browser_of("user"), await browser_of(None)
    page = await page_at(browser, f"/usage?{DAY}")
    addresses = [one.attributes["src"] for one in page.all("script")]
    addresses += [one.attributes["href"] for one in page.all("link", rel="stylesheet")]
    assert len(addresses) == 4
    for address in addresses:
        packed = await visitor.get(address)
        plain = await visitor.get(address, headers={"Accept-Encoding": "identity"})
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.content == plain.content
        assert packed.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert packed.headers["content-type"].split(";")[0] in ("text/javascript", "text/css")
        assert (await visitor.get(re.sub(r"-[0-9a-f]{16}", "-0123456789abcdef", address))).status_code == 404
    style = (await visitor.get(addresses[-1])).text
    assert "--chart-1:175 64% 32%" in style, "the colours of the chat"
    for image in page.all("img"):
        assert image.attributes["src"].startswith("/public/")


async def test_pages_are_in_the_language_of_the_browser(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    await record(layer, user_id=people["user"].id)
    browser = await browser_of("user")
    browser.headers["Accept-Language"] = "zh-CN"
    page = await page_at(browser, f"/usage?{DAY}")
    assert page.one("html").attributes["lang"] == "zh-CN"
    assert page.one("h1").text == "您的用量"
    assert tiles(page)["调用"] == "1"


async def test_a_projection_needs_enough_data(
    layer: ChainlitLayer, people: dict[str, User], browser_of: Browser
) -> None:
    owner, browser, now = people["user"].id, await browser_of("user"), datetime.now(UTC)
    for hours in range(1, 21):
        moment = now - timedelta(hours=6 * hours - 1)
        fields = {"prompt_tokens": 80, "completion_tokens": 20, "total_cost": Decimal("0.05")}
        await layer.record_call(call(moment.isoformat(), user_id=owner, **fields))
        if hours == 19:
            assert "Projection" not in (await page_at(browser, "/usage?period=30d")).one("main").text
    page = await page_at(browser, "/usage?period=30d")
    # A dollar in 119 hours.
    assert page.all("dl", class_="tiles")[1].text.startswith("Next 30 days $6.05 12.1k tokens Next 90 days $18.15")
    assert (now - timedelta(hours=119)).strftime("%Y-%m-%d %H:%M") in page.one("main").text
    assert "Projection" not in (await page_at(browser, "/usage?period=today")).one("main").text
