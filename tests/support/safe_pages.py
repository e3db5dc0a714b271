"""Requests pages, and checks that each runs no script from its content."""

import re
from typing import Any

import httpx

from tests.support.pages import Element, read_page


async def page_at(browser: httpx.AsyncClient, address: str, *, language: str | None = None) -> Element:
    """The page. Fails if it would run a script from its content."""
    answer = await browser.get(address, headers={} if language is None else {"Accept-Language": language})
    assert answer.status_code == 200, answer.text[:300]
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy and "default-src 'none'" in policy
    assert answer.headers["cache-control"] == "private, no-store"
    page = read_page(answer.text)
    runs_nothing(page)
    return page


def runs_nothing(page: Element) -> None:
    for script in page.all("script"):
        assert script.attributes.get("src", "").startswith("/assets/threadkeeper/"), "a script of somebody else's"
    for tag in ("img", "a", "form", "svg", "details", "input", "button", "div", "p"):
        for element in page.all(tag):
            assert not [name for name in element.attributes if name.startswith("on")], element
            address = element.attributes.get("href", "") + element.attributes.get("src", "")
            assert not re.match(r"\s*(javascript|vbscript|data:text)", address, re.IGNORECASE), element
            if tag == "img":
                assert element.attributes["src"].startswith("/"), "a picture from elsewhere"


async def posted(browser: httpx.AsyncClient, page: Element, address: str, /, **fields: Any) -> httpx.Response:
    """The response to a form that is sent with the token of the page's forms."""
    token = page.all("input", name="form_token")[0].attributes["value"]
    return await browser.post(address, data={"form_token": token, **fields})
