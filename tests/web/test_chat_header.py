"""The links to our pages in Chainlit's header: in the reader's language, and by role."""

from typing import Any

import pytest
from chainlit.config import HeaderLink, config
from fastapi import FastAPI

from tests.web.conftest import Browser
from threadkeeper.language.catalogue import CHAT


async def header_links(browser: Any, language: str = "en-US") -> list[tuple[str, str]]:
    answer = await browser.get("/project/settings", params={"language": language})
    assert answer.status_code == 200, answer.text
    return [(one["url"], one["display_name"] or "") for one in answer.json()["ui"]["header_links"] or []]


async def test_the_notice_of_the_demo_is_in_the_readers_language(
    whole_app: FastAPI, browser_of: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, languages = "Demo of our shop", ("en-US", "zh-CN")
    for given in (CHAT.say("demo_header", language) for language in languages):
        links = [HeaderLink(name="demo", display_name=name, icon_url="/x.svg", url="/") for name in (given, own)]
        monkeypatch.setattr(config.ui, "header_links", links)
        for language in languages:
            expected = CHAT.say("demo_header", language)
            assert await header_links(await browser_of("user"), language) == [("/", expected), ("/", own)]


async def test_only_reviewers_get_the_link_to_the_review(
    whole_app: FastAPI, browser_of: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = [
        HeaderLink(name=url, icon_url="/public/x.svg", url=url) for url in ("/usage", "/me", "https://example.org")
    ]
    monkeypatch.setattr(config.ui, "header_links", links)
    everybodys = await header_links(await browser_of("user"))
    assert "/review" not in [url for url, _ in everybodys]
    reviewers = [*everybodys, ("/review", "Review")]
    assert await header_links(await browser_of("reviewer")) == reviewers
    admins = [*reviewers, ("/assistants", "Assistants"), ("/admin", "Admin")]
    assert await header_links(await browser_of("admin")) == admins
    assert everybodys == [("/usage", "Usage"), ("/me", "Account"), ("https://example.org", "")]
    chinese = await header_links(await browser_of("reviewer"), "zh-CN")
    assert [word for _, word in chinese] == ["用量", "账户", "", "审阅"]
    assert (await (await browser_of("reviewer")).get("/project/settings?language=../x")).status_code == 422
