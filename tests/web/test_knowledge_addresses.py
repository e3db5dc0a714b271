"""Data sources with an address in the pages of knowledge, and the suggested questions."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from datalayer import DataSource
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.knowledge import document, source, trained
from tests.support.safe_pages import page_at
from tests.web.conftest import Browser
from tests.web.test_assistants import made

HERE = "/assistants/travel/knowledge"


@pytest.fixture
async def ada(browser_of: Browser, layer: ChainlitLayer) -> httpx.AsyncClient:
    """An admin, and the assistant "travel"."""
    browser = await browser_of("admin")
    await made(layer)
    return browser


async def post(browser: httpx.AsyncClient, to: str, **fields: str) -> httpx.Response:
    page = await page_at(browser, HERE)
    token = page.all("input", name="form_token")[0].attributes["value"]
    return await browser.post(to, data={"form_token": token, **fields})


async def only(layer: ChainlitLayer) -> DataSource:
    (found,) = await layer.list_sources("travel")
    return found


async def test_a_page_and_an_api_are_added_shown_and_changed(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    assert "https://docs.example.com, http://wiki.example:8080" in (await page_at(ada, HERE)).text
    answer = await post(ada, f"{HERE}/addresses", kind="url", address=" https://docs.example.com/a?key=1#part ")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{HERE}?stored=1#sources")
    stored = await only(layer)
    assert (stored.kind, stored.title, stored.options) == (
        "url",
        "https://docs.example.com/a",
        {"address": "https://docs.example.com/a?key=1"},
    ), "citations show the title, and not the key"
    # The same address again is the same source.
    await post(ada, f"{HERE}/addresses", kind="url", address="https://docs.example.com/a?key=1", title="Docs")
    stored = await only(layer)
    assert stored.title == "Docs"
    assert "Docs Web page" in (await page_at(ada, HERE)).one("table", class_="sources").text

    fields = {"records": "data.items", "columns": "name, in.city", "title_field": "name", "page": "p"}
    answer = await post(
        ada,
        f"{HERE}/sources/{stored.id}/address",
        address="https://docs.example.com/b",
        header="KNOWLEDGE_HEADER_A",
        **fields,
    )
    assert answer.headers["location"] == f"{HERE}/sources/{stored.id}?done=address"
    assert (await only(layer)).options == {
        "address": "https://docs.example.com/b",
        "header": "KNOWLEDGE_HEADER_A",
    }, "the fields of an API are none of a page"
    await layer.delete_source(stored.id)

    await post(ada, f"{HERE}/addresses", kind="api", address="http://wiki.example:8080/api", **fields)
    stored = await only(layer)
    expected: dict[str, Any] = {"records": "data.items", "columns": ["name", "in.city"], "title": "name", "page": "p"}
    assert stored.options == {"address": "http://wiki.example:8080/api", **expected}
    page = await page_at(ada, f"{HERE}/sources/{stored.id}?done=address")
    assert "The address is stored." in page.text
    shown = {name: page.one("input", name=name).attributes["value"] for name in ("address", "columns", "title_field")}
    assert shown == {"address": "http://wiki.example:8080/api", "columns": "name, in.city", "title_field": "name"}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://other.example.com/", "This server fetches nothing from https://other.example.com."),
        ("http://docs.example.com/", "This server fetches nothing from http://docs.example.com."),
        ("https://ada:secret@docs.example.com/", "The address docs.example.com/ cannot be used."),
        ("docs", "The address docs cannot be used."),
        ("", "cannot be used."),
    ],
)
async def test_an_address_that_cannot_be_used_is_told(
    layer: ChainlitLayer, ada: httpx.AsyncClient, address: str, said: str
) -> None:
    answer = await post(ada, f"{HERE}/addresses", kind="url", address=address)
    assert answer.status_code == 400
    assert said in answer.text
    assert "secret" not in answer.text
    assert await layer.list_sources("travel") == []
    assert (await post(ada, f"{HERE}/addresses", kind="file", address="https://docs.example.com/")).status_code == 400


async def test_a_file_has_no_address(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    file = await layer.put_source(source("travel"), b"text")
    answer = await post(ada, f"{HERE}/sources/{file.id}/address", address="https://docs.example.com/")
    assert answer.status_code == 404
    assert not (await page_at(ada, f"{HERE}/sources/{file.id}")).all("section", id="address")


async def test_the_suggested_questions_are_shown(layer: ChainlitLayer, ada: httpx.AsyncClient) -> None:
    file = await layer.put_source(source("travel"), b"text")
    training = await trained(layer, [document(file.id, "a", ["one"])], "travel")
    assert not (await page_at(ada, HERE)).all("section", id="suggestions")
    await layer.keep_suggestions(training.id, ["Where is Rome?", "<b>罗马在哪里？</b>"])
    shown = (await page_at(ada, HERE)).one("section", id="suggestions")
    assert [one.text for one in shown.all("li")] == ["Where is Rome?", "<b>罗马在哪里？</b>"]
