"""The usage pages in a real browser: from the chat to one call, in both themes, wide and narrow."""

import csv
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from datalayer.records.usage import LlmCallPayload
from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, WIDE, Visitor, visit
from tests.support.calls import call
from tests.support.server import AppServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), IN_THE_BROWSERS_LOOP]

NAME, ADMIN, PASSWORD = "ann", "olga", "a long password"
HOSTILE = "<img src=x onerror=alert(1)>"
# Dollars per million input and output tokens.
MODELS = {"gpt-4o": (2.5, 10), "gpt-4o-mini": (0.15, 0.6), "--chart-1": (3, 15), "local": None, HOSTILE: (1, 1)}


async def fill(server: AppServer, owner: str, number: int) -> None:
    """Record this many calls of the last days. Only their times differ between runs."""
    chance, now = random.Random(5), datetime.now(UTC)
    async with server.layer() as layer:
        for at in range(number):
            model = list(MODELS)[at % len(MODELS)]
            price, has_failed = MODELS[model], at % 25 == 24
            tokens_in, tokens_out = (0, 0) if has_failed else (chance.randint(50, 4000), chance.randint(20, 600))
            cost = None if price is None else Decimal(str(tokens_in * price[0] + tokens_out * price[1])) / 10**6
            made = call(
                (now - timedelta(days=40) * chance.random() ** 1.3).isoformat(),
                user_id=owner,
                model=model,
                prompt_tokens=tokens_in,
                completion_tokens=tokens_out,
                total_cost=cost,
                is_estimated=price is None,
                seconds=chance.uniform(1, 9),
                first_token_seconds=None if has_failed else chance.uniform(0.2, 1.2),
                status_code=429 if has_failed else 200,
                error_kind="rate_limit" if has_failed else None,
                tags=("draft",) if at % 3 else (),
            )
            payload = LlmCallPayload(made.id, [{"role": "user", "content": f"Is {HOSTILE} a river?"}], "It is not.")
            await layer.record_call(made, payload)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_usage_pages(browser: Browser, start_server: StartServer, tmp_path: Path) -> None:
    server = await start_server(OPENAI_MODELS="echo")
    await fill(server, await server.add_user(NAME, PASSWORD), 150)
    await fill(server, await server.add_user(ADMIN, PASSWORD, "admin"), 50)
    async with visit(browser, server.base_url, "usage") as visitor:
        await open_from_the_chat(visitor)
        await look_at_a_value(visitor)
        await open_one_call(visitor)
        await export_the_calls(visitor, tmp_path)
        await use_the_keyboard(visitor)
        await choose_the_theme_in_the_chat(visitor)
    for dark in (False, True):
        for size in (WIDE, NARROW):
            name = f"usage-{'dark' if dark else 'light'}-{'wide' if size == WIDE else 'narrow'}"
            async with visit(browser, server.base_url, name, size=size, dark=dark) as visitor:
                await visitor.get_cookie(ADMIN, PASSWORD)
                await visitor.open("/usage")
                await drawn(visitor)
                await fits(visitor, "overview")
                await visitor.open("/usage/calls")
                await fits(visitor, "calls")
                await visitor.page.locator("details.filters summary").click()
                await fits(visitor, "filters")
                await visitor.open("/usage/portfolio")
                await fits(visitor, "portfolio")
                await visitor.open("/usage/calls")
                await visitor.page.locator("table.calls tbody a").first.click()
                await expect(visitor.page.locator("article.message")).to_have_count(2)
                await fits(visitor, "call")
                await visitor.open("/usage?model=none-of-them")
                await fits(visitor, "empty")
                with visitor.watch.expecting("400"):
                    await visitor.open("/usage?period=yesterday")
                await fits(visitor, "bad-address")


async def open_from_the_chat(visitor: Visitor) -> None:
    await visitor.arrive("/usage")
    assert visitor.page.url.endswith("/login?next=/usage")
    await visitor.log_in(NAME, PASSWORD)
    await expect(visitor.page.get_by_role("heading", name="Your usage")).to_be_visible()
    await visitor.page.get_by_role("link", name="Chat").click()
    await visitor.connected()
    await visitor.screenshot("link-in-the-chat")
    await visitor.page.locator('#header a[href="/usage"]').click()
    await expect(visitor.page.get_by_role("heading", name="Your usage")).to_be_visible()
    await drawn(visitor)


async def drawn(visitor: Visitor) -> None:
    await expect(visitor.page.locator(".chart.js-plotly-plot")).to_have_count(5)
    await expect(visitor.page.locator(".chart .xtick").first).to_be_visible()


async def look_at_a_value(visitor: Visitor) -> None:
    surface = visitor.page.locator(".chart .nsewdrag").first
    box = await surface.bounding_box()
    assert box is not None
    await surface.hover(position={"x": box["width"] * 0.9, "y": box["height"] / 2})
    await expect(visitor.page.locator(".chart .hoverlayer").first).to_contain_text("$0.")
    await visitor.screenshot("hover")
    # A name with markup is shown as text, in the legend too.
    for name in (HOSTILE, "--chart-1"):
        await expect(visitor.page.locator(".chart .legend").first).to_contain_text(name)


async def open_one_call(visitor: Visitor) -> None:
    page = visitor.page
    await page.locator("table.groups").get_by_role("link", name=HOSTILE).click()
    await expect(page.locator(".chips")).to_contain_text(HOSTILE)
    await drawn(visitor)
    await visitor.screenshot("filtered")
    await page.get_by_role("link", name="All calls").click()
    await expect(page.locator("table.calls tbody tr").first).to_contain_text(HOSTILE)
    await page.locator("table.calls tbody a").first.click()
    await expect(page.locator("article.message").first).to_contain_text(f"Is {HOSTILE} a river?")
    await page.go_back()
    await page.get_by_role("link", name="Remove the filter").click()
    await expect(page.locator(".chips")).to_have_count(0)


async def export_the_calls(visitor: Visitor, folder: Path) -> None:
    async with visitor.page.expect_download() as started:
        await visitor.page.get_by_role("link", name="CSV").click()
    download = await started.value
    path = folder / download.suggested_filename
    await download.save_as(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["user"] for row in rows} == {NAME}
    assert HOSTILE in {row["model"] for row in rows}


async def use_the_keyboard(visitor: Visitor) -> None:
    await visitor.open("/usage")
    await visitor.page.keyboard.press("Tab")
    await expect(visitor.page.get_by_role("link", name="Skip to content")).to_be_focused()
    await visitor.screenshot("focus")
    today = visitor.page.get_by_role("link", name="Today")
    for _ in range(20):
        await visitor.page.keyboard.press("Tab")
        if await today.evaluate("link => link === document.activeElement"):
            break
    await visitor.page.keyboard.press("Enter")
    await expect(today).to_have_attribute("aria-current", "true")


async def choose_the_theme_in_the_chat(visitor: Visitor) -> None:
    await visitor.page.evaluate("localStorage.setItem('vite-ui-theme', 'dark')")
    await visitor.open("/usage")
    await drawn(visitor)
    assert await visitor.page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
    await visitor.screenshot("dark-by-choice")


async def fits(visitor: Visitor, name: str) -> None:
    """Nothing but tables scrolls sideways."""
    await visitor.page.wait_for_load_state("networkidle")
    await visitor.screenshot(name)
    assert await visitor.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
