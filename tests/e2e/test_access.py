"""Pages for everybody: axe-core finds nothing serious on our pages and in the chat, in both themes, wide and narrow."""

import asyncio
import re
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import chainlit as cl
import pytest
from playwright.async_api import Browser, Page, expect

from datalayer import AssistantSettings, DataSource, Price, Project, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.thought import THOUGHT, THOUGHT_NAME, THOUGHT_TYPE
from tests.conftest import StartServer
from tests.support import axe, missing
from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, WIDE, Visitor, visit
from tests.support.calls import call
from tests.support.chat_client import ChatClient
from tests.support.knowledge import EMBEDDING, train_files
from tests.support.model_server import ModelServer
from tests.support.npm import NpmMissing
from tests.support.records import new_id, step
from tests.support.server import AppServer
from tests.web.test_roles import ADMINS, PAGE, REVIEW, WHO_MAY
from threadkeeper.language.chosen import LANGUAGE_COOKIE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), IN_THE_BROWSERS_LOOP]

NAME, PASSWORD = "ann", "a long password"
# Without a comma, which separates the models in the settings.
ANSWER = """The harbour opens at six [1].

```python
# the tide
def tide(hour: int) -> str:
    return "high" if hour % 12 < 6 else "low"
```

$$e^{i\\pi} = -1$$

| boat | metres |
| --- | --- |
| *Argo* | 30 |
"""
HARBOUR = "The harbour opens at six in the morning."
PAIRS = "question,answer\nWhen does it open?,At six."
PICTURE = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
# What depends on the width and the theme.
OF_LOOKS = ("color-contrast", "scrollable-region-focusable", "link-in-text-block")
OF_A_MODEL = ("/admin/money/model", "/admin/models/edit")
_TRIES = 20
MOST_STOPS = 40
FOCUSABLE = "window.inOrder = [...document.querySelectorAll('*')]; document.activeElement?.blur(); scrollTo(0, 0)"
FOCUSED = """() => {
  const one = document.activeElement;
  if (!one || one === document.body) return null;
  const style = getComputedStyle(one), area = one.getBoundingClientRect();
  const isMarked = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
  return {
    at: window.inOrder.indexOf(one),
    html: one.outerHTML.slice(0, 100),
    isMarked: isMarked && area.width > 0 && area.height > 0,
  };
}"""
NOT_HTML = re.compile(r"/picture/|/file$|/numbers$|/takeout/|/export/")


@pytest.fixture(scope="module")
def script() -> Path:
    try:
        return axe.install()
    except NpmMissing as error:
        missing.skip_or_fail(f"AXE: {error}")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_no_page_keeps_anybody_out(
    browser: Browser, start_server: StartServer, model_server: ModelServer, script: Path
) -> None:
    server = await start_server(OPENAI_MODELS=f"say:{ANSWER}", OPENAI_TITLE_MODEL="say:Harbour", **EMBEDDING)
    owner = await server.add_user(NAME, PASSWORD, "admin")
    async with server.layer() as layer:
        assistant = await layer.create_assistant(AssistantSettings("Harbour master", score_threshold=0.0))
        assert (await train_files(layer, assistant.slug, {"harbour.txt": HARBOUR}, model_server)).state == "success"
    thread_id = await a_thread_with_everything(server, assistant.slug)
    async with server.layer() as layer:
        values = await values_of_addresses(layer, owner, thread_id, assistant.slug)

    findings: list[str] = []
    async with visit(browser, server.base_url, "access") as visitor:
        await visitor.arrive()
        findings += await found_in_chat(visitor, script, "/login")
        await visitor.enter(NAME, PASSWORD)
        values["job_id"] = await repriced(visitor)
        for address in addresses(values):
            findings += await found_on_page(visitor, script, address)
        for dark, size, rules in ((False, WIDE, ()), (True, NARROW, OF_LOOKS)):
            await looks(visitor.page, dark=dark, size=size)
            await visitor.open("/")
            await expect(visitor.page.get_by_text("Explain something")).to_be_visible()
            await visitor.connected()
            findings += await found_in_chat(visitor, script, "the empty chat", *rules)
            await visitor.open(f"/thread/{thread_id}")
            await expect(visitor.answers.locator(".katex").first).to_be_visible()
            await expect(visitor.page.locator("img[alt='map.png']")).to_be_visible()
            findings += await found_in_chat(visitor, script, "the thread", *rules)
        assert not findings, "\n".join(findings)
        await looks(visitor.page, dark=False, size=WIDE)
        await menu_by_keyboard(visitor.page)


async def found(visitor: Visitor, script: Path, place: str, *rules: str) -> list[str]:
    return [f"{place}: {finding}" for finding in await axe.serious_findings(visitor.page, script, *rules)]


async def found_in_chat(visitor: Visitor, script: Path, place: str, *rules: str) -> list[str]:
    """Chainlit's page gets its names a moment after it has changed."""
    for _ in range(_TRIES):
        if not (findings := await found(visitor, script, place, *rules)):
            break
        await asyncio.sleep(0.5)
    return findings


async def found_on_page(visitor: Visitor, script: Path, address: str) -> list[str]:
    """Of one of our pages: wide and light in English, narrow and dark in Chinese, and narrow in German."""
    page, name = visitor.page, re.sub(r"\W+", "-", re.sub(r"[0-9a-f-]{36}", "id", address)).strip("-")
    await visitor.open(address)
    await expect(page.locator("main h1")).to_have_count(1)
    findings = await found(visitor, script, address)
    findings += [f"{address}: {finding}" for finding in await found_by_keyboard(page)]
    await visitor.screenshot(f"{name}-wide", whole=True)
    await looks(page, dark=True, size=NARROW)
    await in_language(visitor, "zh-CN", address)
    findings += await found(visitor, script, f"{address}, narrow and dark", *OF_LOOKS)
    await visitor.screenshot(f"{name}-narrow-chinese", whole=True)
    # German words are the longest. 640 is a window of 1280 pixels at 200 %.
    await in_language(visitor, "de-DE", address)
    await visitor.screenshot(f"{name}-narrow-german", whole=True)
    # From narrow to wide: a chart is drawn again a moment after its page became narrower.
    for width in (NARROW[0], 640, 900):
        await looks(page, dark=False, size=(width, NARROW[1]))
        if await page.evaluate("document.documentElement.scrollWidth - window.innerWidth") > 0:
            findings.append(f"{address}: scrolls sideways at {width} pixels")
    await looks(page, dark=False, size=WIDE)
    await page.context.clear_cookies(name=LANGUAGE_COOKIE)
    return findings


async def in_language(visitor: Visitor, language: str, address: str) -> None:
    """Open the page as for a person who has chosen this language."""
    await visitor.page.context.add_cookies([{"name": LANGUAGE_COOKIE, "value": language, "url": visitor.page.url}])
    await visitor.open(address)
    await expect(visitor.page.locator("html")).to_have_attribute("lang", language)


async def found_by_keyboard(page: Page) -> list[str]:
    """The tab key goes through the page in the order of its text, and what has the focus is seen to have it."""
    findings: list[str] = []
    seen: list[int] = []
    await page.evaluate(FOCUSABLE)
    for _ in range(MOST_STOPS):
        await page.keyboard.press("Tab")
        stop = await page.evaluate(FOCUSED)
        if stop is None or stop["at"] in seen:
            break
        seen.append(stop["at"])
        if not stop["isMarked"]:
            findings.append(f"{stop['html']} does not show that it has the focus")
    if seen != sorted(seen):
        findings.append(f"the tab key goes through the page out of order: {seen}")
    return findings


async def menu_by_keyboard(page: Page) -> None:
    """The menu of a thread in the side bar opens without a mouse."""
    entry = page.locator("#thread-history li[id^=thread-]").first
    link = entry.locator("a").first
    await link.focus()
    await page.keyboard.press("Shift+F10")
    await expect(page.get_by_role("menuitem").first).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(link).to_be_focused()


async def looks(page: Page, *, dark: bool, size: tuple[int, int]) -> None:
    await page.set_viewport_size({"width": size[0], "height": size[1]})
    await page.emulate_media(color_scheme="dark" if dark else "light")


async def repriced(visitor: Visitor) -> str:
    """The id of a job that recalculates costs."""
    await visitor.open("/admin/money/reprice")
    await visitor.page.locator("main input[name=since]").fill("2026-01-01")
    await visitor.page.locator("main form button").last.click()
    await visitor.page.wait_for_url("**/admin/money/reprice/*")
    return visitor.page.url.rsplit("/", maxsplit=1)[-1]


def addresses(values: Mapping[str, str]) -> list[str]:
    """The address of every page of ours. A route with a new placeholder needs a value for it."""
    routes = [route.removeprefix("GET ") for route, who in WHO_MAY.items() if who in (PAGE, REVIEW, ADMINS)]
    pages = [route for route in routes if route.startswith("/") and not NOT_HTML.search(route)]
    return [_filled(route, values) + ("?model=gpt-4o" if route in OF_A_MODEL else "") for route in pages]


def _filled(route: str, values: Mapping[str, str]) -> str:
    # A value of one route alone has the end of the route before its name.
    end = route.rsplit("/", maxsplit=1)[-1]
    return re.sub(r"\{(\w+)\}", lambda name: values.get(f"{end} {name[1]}") or values[name[1]], route)


async def a_thread_with_everything(server: AppServer, slug: str) -> str:
    """A thread with thought, code, a formula, a table, a citation, a picture and a file."""
    async with ChatClient(server.base_url, NAME, PASSWORD, profile=slug) as client:
        await client.ask("When does the harbour open?")
        await client.event("first_interaction")
        thread_id = client.thread_id
        assert thread_id is not None
        answer = (await client.stored())["steps"][-1]
    async with server.layer() as layer:
        with acting_as(NAME):
            times = {"start": answer["createdAt"], "end": answer["createdAt"]}
            metadata = {"status": THOUGHT, "icon": "lightbulb", "seconds": 2.5}
            thought = step(thread_id, "It is early.", type=THOUGHT_TYPE, name=THOUGHT_NAME, metadata=metadata, **times)
            await layer.create_step({**thought, "parentId": answer["parentId"], "createdAt": answer["createdAt"]})
            common: dict[str, Any] = {"thread_id": thread_id, "for_id": answer["id"]}
            await layer.create_element(cl.Image(name="map.png", content=PICTURE, mime="image/png", **common))
            await layer.create_element(cl.File(name="a.zip", content=b"PK", mime="application/zip", **common))
    return thread_id


async def values_of_addresses(layer: ChainlitLayer, owner: str, thread_id: str, slug: str) -> dict[str, str]:
    made = call(datetime.now(UTC).isoformat(), user_id=owner, prompt_tokens=50, completion_tokens=20)
    await layer.record_call(made)
    training = (await layer.list_trainings(slug))[0]
    document = (await layer.list_documents(training.id))[0]
    pairs, table = (DataSource(new_id(), slug, kind, f"{kind}.csv") for kind in ("pairs", "datasheet"))
    for one in (pairs, table):
        await layer.put_source(one, PAIRS.encode())
    price = await layer.add_price(Price(new_id(), "gpt-4o", "2026-01-01", Decimal(2), Decimal(8)))
    # The project has the name of the assistant in its address, too.
    await layer.put_project(Project(new_id(), "Harbour", slug))
    values = {"call_id": made.id, "thread_id": thread_id, "user_id": owner, "slug": slug, "price_id": price.id}
    return (
        values
        | {"source_id": pairs.id, "columns source_id": table.id}
        | {
            "training_id": training.id,
            "document_id": str(document.id),
        }
    )
