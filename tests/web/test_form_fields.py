"""A form that is not valid is shown again with what was typed, and each sentence belongs to its field."""

from typing import Any

import httpx
import pytest

from datalayer import User
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.pages import read_page
from tests.support.safe_pages import page_at, posted, runs_nothing
from tests.web.conftest import Browser
from tests.web.test_assistants import made

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

LONG = "x" * 2_001


def is_tied(answer: httpx.Response, field: str, *, told: str, typed: str | None = None) -> None:
    """The page says at the field what is wrong with it, and once more at its top, with a link to the field."""
    assert answer.status_code == 400
    page = read_page(answer.text)
    runs_nothing(page)
    (shown,) = (one for tag in ("input", "textarea", "select", "fieldset") for one in page.all(tag, id=field))
    assert shown.attributes["aria-invalid"] == "true"
    assert f"{field}-problem" in shown.attributes["aria-describedby"].split()
    assert "autofocus" in shown.attributes
    assert told in page.one("span", id=f"{field}-problem").text
    assert told in page.one("a", href=f"#{field}").text
    inside = [one for one in page.all("details") if shown in [*one.all("input"), *one.all("textarea")]]
    assert all("open" in one.attributes for one in inside)
    if typed is not None:
        assert (shown.text if shown.tag == "textarea" else shown.attributes["value"]) == typed


async def test_forms_say_at_the_field_what_is_wrong_and_keep_what_was_typed(
    layer: ChainlitLayer, browser_of: Browser, people: dict[str, User]
) -> None:
    ada = await browser_of("admin")
    await made(layer)
    uma = f"/admin/people/{people['user'].id}"
    forms: list[tuple[str, str, dict[str, Any], str, str, str | None]] = [
        ("/admin/people", "/admin/people", {"name": "rita", "role": "admin"}, "name", "already", "rita"),
        ("/admin/people", "/admin/people", {"name": LONG, "role": "user"}, "name", "2,000", LONG),
        (uma, f"{uma}/delete", {"confirm": "ruma"}, "confirm", "is not uma", "ruma"),
        ("/me", "/me/delete", {"confirm": "eve"}, "confirm", "Nothing was deleted", "eve"),
        ("/me", "/me/keys", {"name": " ", "scope": "threads:read"}, "key-name", "what the key is for", " "),
        ("/me", "/me/keys", {"name": "lab"}, "scope", "", None),
        ("/me", "/me/keys", {"name": "lab", "scope": "threads:read", "expires": "2020-01-01"}, "expires", "2020", None),
        ("/me", "/me/password", {"old": "no", "password": "12345678", "again": "12345678"}, "old", "another", None),
        ("/me/prompts", "/me/prompts", {"name": "a b", "text": "kept"}, "name-new", "", "a b"),
        ("/me/import", "/me/import", {}, "export", "", None),
        ("/assistants/travel", "/assistants/travel/delete", {"confirm": "rome"}, "confirm", "travel", "rome"),
        ("/review/queue", "/review/queue/fill", {"percent": "all", "wanted": "7"}, "percent", "“all”", "all"),
        ("/review?thumb=down", "/review/views", {"query": "thumb=down", "name": " "}, "name", "name", " "),
    ]
    for at, address, fields, field, told, typed in forms:
        answer = await posted(ada, await page_at(ada, at), address, **fields)
        is_tied(answer, field, told=told, typed=typed)
        assert answer.headers["cache-control"] == "private, no-store"
        assert "12345678" not in answer.text, "a password is not shown again"
    assert 'value="eve"' not in (await ada.get("/me")).text, "the next page has an empty form"


async def test_a_refused_form_shows_only_pages_that_its_sender_may_read(
    browser_of: Browser, people: dict[str, User]
) -> None:
    uma = await browser_of("user")
    me = await page_at(uma, "/me")
    answer = await posted(uma, me, f"/admin/people/{people['user'].id}/delete", confirm="wrong")
    assert (answer.status_code, "wrong" in answer.text) == (404, False)
