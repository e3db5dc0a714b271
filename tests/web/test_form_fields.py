"""A form that is not valid is shown again with what was typed, and each sentence belongs to its field."""

from typing import Any

import httpx
import pytest

from datalayer import StorageUnavailable, User, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.pages import Element, read_page
from tests.support.safe_pages import page_at, posted, runs_nothing
from tests.web.conftest import Browser
from tests.web.test_assistants import made

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

LONG = "x" * 2_001
SECRETS = ("old", "password", "again")


def is_tied(answer: httpx.Response, at: str, field: str, *, told: str) -> dict[str, list[str]]:
    """The page says at the field what is wrong with it, and once more at its top, with a link to the field.

    Gives the fields of the form that a browser would send if it was sent again as it is shown.
    """
    assert answer.status_code == 400
    page = read_page(answer.text)
    runs_nothing(page)
    assert page.one("html").attributes["data-page"] == at, "the address that can be opened"
    (shown,) = (one for tag in ("input", "textarea", "select", "fieldset") for one in page.all(tag, id=field))
    assert shown.attributes["aria-invalid"] == "true"
    assert f"{field}-problem" in shown.attributes["aria-describedby"].split()
    assert "autofocus" in shown.attributes
    assert told, "each text has the empty one"
    assert told in page.one("span", id=f"{field}-problem").text
    assert told in page.one("a", href=f"#{field}").text
    inside = [one for one in page.all("details") if shown in [*one.all("input"), *one.all("textarea")]]
    assert all("open" in one.attributes for one in inside)
    (form,) = (one for one in page.all("form") if shown in one.all(shown.tag))
    return sent_by(form)


def sent_by(form: Element) -> dict[str, list[str]]:
    """The values of each field that has some, without the token and the name for the browser's own passwords."""
    sent: dict[str, list[str]] = {}
    for one in form.all("input"):
        if one.attributes.get("type") not in ("checkbox", "radio"):
            sent.setdefault(one.attributes["name"], []).append(one.attributes.get("value", ""))
        elif "checked" in one.attributes:
            sent.setdefault(one.attributes["name"], []).append(one.attributes.get("value", "on"))
    for one in form.all("textarea"):
        text = "".join(str(child) for child in one.children)
        sent[one.attributes["name"]] = [text.removeprefix("\n").replace("\r\n", "\n")]
    for one in form.all("select"):
        chosen = [option for option in one.all("option") if "selected" in option.attributes]
        sent[one.attributes["name"]] = [option.attributes["value"] for option in chosen]
    return {name: texts for name, texts in sent.items() if any(texts) and name not in ("form_token", "username")}


async def test_forms_say_at_the_field_what_is_wrong_and_keep_what_was_typed(
    layer: ChainlitLayer, browser_of: Browser, people: dict[str, User]
) -> None:
    ada = await browser_of("admin")
    await made(layer)
    uma, prompt = f"/admin/people/{people['user'].id}", {"name": "a b", "text": "a\nb", "is_shared": "on"}
    with acting_as("ada"):
        own = (await layer.put_prompt("kind", "Be kind.")).id
    scopes, secrets = ["threads:write", "account"], {"old": "no", "password": "12345678", "again": "12345678"}
    view, export = {"query": "thumb=down", "name": " ", "shared": "yes"}, {"kind": "conversations", "format": "csv"}
    knowledge = "/assistants/travel/knowledge"
    forms: list[tuple[str, str, dict[str, Any], str, str]] = [
        ("/admin/people", "/admin/people", {"name": "rita", "role": "admin"}, "name", "already"),
        ("/admin/people", "/admin/people", {"name": LONG, "role": "user"}, "name", "2,000"),
        (uma, f"{uma}/delete", {"confirm": "ruma"}, "confirm", "is not uma"),
        ("/me", "/me/delete", {"confirm": "eve"}, "confirm", "Nothing was deleted"),
        ("/me", "/me/keys", {"name": " ", "scope": scopes}, "key-name", "what the key is for"),
        ("/me", "/me/keys", {"name": LONG, "scope": scopes}, "key-name", "more than 100"),
        ("/me", "/me/keys", {"name": "lab"}, "scope", "choose what the key may do"),
        ("/me", "/me/keys", {"name": "lab", "scope": scopes, "expires": "2020-01-01"}, "expires", "2020-01-01"),
        ("/me", "/me/password", secrets, "old", "not correct"),
        ("/me/prompts", "/me/prompts", prompt, "name-new", "name of letters"),
        ("/me/prompts", "/me/prompts", prompt | {"text": "x\r\n" * 10_001}, "text-new", "20,000"),
        ("/me/prompts", "/me/prompts", prompt | {"prompt": own, "name": "x" * 41}, f"name-{own}", "more than 40"),
        ("/me/import", "/me/import", {"by_day": "on"}, "export", "Choose a file"),
        ("/assistants/travel", "/assistants/travel/delete", {"confirm": "rome"}, "confirm", "travel"),
        (knowledge, f"{knowledge}/files", {"kind": "datasheet"}, "files", "choose a file"),
        ("/review/queue", "/review/queue/fill", {"percent": "all", "wanted": "7"}, "percent", "“all”"),
        ("/review?thumb=down", "/review/views", view, "name", "name"),
        (
            "/review/export?error=yes",
            "/review/export",
            export | {"query": "error=yes", "purpose": LONG},
            "purpose",
            "500",
        ),
    ]
    for at, address, fields, field, told in forms:
        answer = await posted(ada, await page_at(ada, at), address, **fields)
        again = is_tied(answer, at, field, told=told)
        typed = {
            name: [text] if isinstance(text, str) else text for name, text in fields.items() if name not in SECRETS
        }
        assert again == {name: [text.replace("\r\n", "\n") for text in texts] for name, texts in typed.items()}
        assert answer.headers["cache-control"] == "private, no-store"
        assert "12345678" not in answer.text, "a password is not shown again"
    assert 'value="eve"' not in (await ada.get("/me")).text, "the next page has an empty form"
    assert "data-page" not in (await page_at(ada, "/me")).one("html").attributes


async def test_a_line_break_is_one_character_as_browsers_count(
    layer: ChainlitLayer, browser_of: Browser, people: dict[str, User]
) -> None:
    uma = await browser_of("user")
    text = "x" * 19_979 + "\n" * 20 + "x"
    answer = await posted(
        uma, await page_at(uma, "/me/prompts"), "/me/prompts", name="long", text=text.replace("\n", "\r\n")
    )
    assert answer.status_code == 303
    with acting_as("uma"):
        assert [one.text for one in await layer.list_prompts()] == [text]


async def test_a_page_of_a_form_that_fails_itself_has_its_own_status(
    layer: ChainlitLayer, browser_of: Browser, people: dict[str, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    uma = await browser_of("user")
    page = await page_at(uma, "/me/prompts")

    async def fail() -> None:
        raise StorageUnavailable("the disk is away")

    monkeypatch.setattr(layer, "list_prompts", fail)
    answer = await posted(uma, page, "/me/prompts", name="a b", text="kept")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_a_refused_form_shows_only_pages_that_its_sender_may_read(
    browser_of: Browser, people: dict[str, User]
) -> None:
    uma = await browser_of("user")
    me = await page_at(uma, "/me")
    answer = await posted(uma, me, f"/admin/people/{people['user'].id}/delete", confirm="wrong")
    assert (answer.status_code, "wrong" in answer.text) == (404, False)
