"""A model without a price gets one where it is seen, and the calls before get their cost. Screenshots for people."""

import re

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, visit
from tests.support.chat_client import ChatClient

pytestmark = [pytest.mark.slow, IN_THE_BROWSERS_LOOP]

NAME, PASSWORD = "ada", "the analytical engine"
PAGES = (
    "",
    "/projects",
    "/new-project",
    "/projects/default",
    "?list=published&words=gpt-4o",
    "/prices/new",
    "/limits",
    "/reprice",
)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_model_without_a_price_gets_one_and_its_calls_a_cost(
    browser: Browser, start_server: StartServer
) -> None:
    server = await start_server(OPENAI_MODELS="echo")
    await server.add_user(NAME, PASSWORD, "admin")
    async with ChatClient(server.base_url, NAME, PASSWORD) as client:
        await client.ask("What does this cost?")
        await client.event("first_interaction")
    async with visit(browser, server.base_url, "money") as visitor:
        page = visitor.page
        await visitor.enter(NAME, PASSWORD, "/usage")
        await page.get_by_role("link", name="Set a price for echo").click()
        await expect(page.locator("input[name=model]")).to_have_value("echo")
        await page.locator("input[name=input]").fill("1.000")
        await page.locator("input[name=output]").fill("3")
        with visitor.watch.expecting("status of 400"):
            await page.keyboard.press("Enter")
            await expect(page.locator("#input-problem")).to_contain_text("can mean two numbers")
        await expect(page.locator("input[name=output]")).to_have_value("3")
        await visitor.screenshot("price-refused")
        await page.locator("input[name=input]").fill("1000.5")
        await page.get_by_role("button", name="Set the price").click()
        await expect(page.locator("#unpriced")).to_contain_text("no cost")
        await visitor.screenshot("price")
        await page.get_by_role("link", name="See what they would cost").click()
        await page.get_by_role("button", name="Start the dry run").click()
        change = page.get_by_role("button", name="Change these costs")
        await expect(change).to_be_visible()
        await visitor.screenshot("dry-run")
        await change.click()
        await expect(page.locator("#repricing")).to_contain_text("It is done")
        await visitor.open("/usage")
        await expect(page.locator("#table")).not_to_contain_text("unknown")
        await visitor.open("/admin/money/limits")
        await page.locator("input[name=amount]").fill("1,000,000")
        await page.get_by_role("button", name="Set the limit").click()
        await expect(page.locator("table.limits")).to_contain_text("1,000,000 tokens a month")
        await visitor.screenshot("limits")
    for dark, locale in ((False, "zh-CN"), (True, "en-US")):
        name = f"money-{'dark' if dark else 'light'}-narrow"
        async with visit(browser, server.base_url, name, size=NARROW, dark=dark, locale=locale) as visitor:
            await visitor.enter(NAME, PASSWORD, "/admin/money")
            await expect(visitor.page.locator("table.prices")).to_be_visible()
            for address in PAGES:
                await visitor.open(f"/admin/money{address}")
                await visitor.screenshot("money-" + (re.sub(r"\W+", "-", address).strip("-") or "used"))
                assert await visitor.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
