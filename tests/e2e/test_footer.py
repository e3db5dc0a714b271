"""The usage line under an answer in a real browser: shown again later, and not part of the text."""

import re
from decimal import Decimal

import pytest
from playwright.async_api import Browser, Locator, expect

from datalayer.records.usage import Price
from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, Visitor, visit
from tests.support.model_server import ModelServer
from tests.support.records import new_id

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), IN_THE_BROWSERS_LOOP]

NAME, PASSWORD = "ann", "a long password"


def footer(visitor: Visitor, words: str) -> Locator:
    return visitor.page.get_by_role("button", name=words)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_usage_line_under_an_answer(
    browser: Browser, start_server: StartServer, model_server: ModelServer, engine: str
) -> None:
    server = await start_server(OPENAI_MODELS="echo,no-usage,think:reasoning:0.2")
    await server.add_user(NAME, PASSWORD)
    price = Price(new_id(), "echo", "2020-01-01T00:00:00Z", input=Decimal(100), output=Decimal(100))
    async with server.layer() as layer:
        await layer.add_price(price)
    async with visit(browser, server.base_url, f"{engine}-footer") as visitor:
        await visitor.enter(NAME, PASSWORD)
        await visitor.connected()
        answer = await visitor.ask("What does this take?")
        await visitor.answered()
        billed = model_server.ledger[0]
        tokens = billed.prompt_tokens + billed.completion_tokens
        cost = f"{Decimal(tokens) / 10_000:.4f}".rstrip("0")
        line = footer(visitor, f"echo · {tokens} tokens · ${cost}")
        await expect(line).to_be_visible()
        await visitor.screenshot("priced")
        await line.click()
        await expect(visitor.toast).to_contain_text(f"{billed.prompt_tokens} tokens sent to the model")

        # An unknown price is not shown, and estimated tokens are marked with "about".
        await visitor.ask("And you?", model="no-usage")
        await visitor.answered()
        unpriced = footer(visitor, "no-usage · about")
        await expect(unpriced).to_be_visible()
        assert "$" not in await unpriced.inner_text()

        # Thought is folded, and shows how long it took.
        await visitor.ask("And why?", model="think:reasoning:0.2")
        folded = visitor.page.get_by_role("button", name="Thought for")
        await expect(folded).to_have_text(re.compile(r"^✓ Thought for \d+\.\d s$"))
        await visitor.answered()
        thought = visitor.page.get_by_text("Pondering And why?")
        await expect(thought).to_have_count(0)
        await folded.click()
        await expect(thought).to_be_visible()
        await expect(visitor.answers.last).to_contain_text("You said: And why?")
        await visitor.screenshot("thought")

        thread_id = await visitor.thread_id()
        await visitor.open(f"/thread/{thread_id}")
        await expect(line).to_be_visible()
        await expect(unpriced).to_be_visible()
        await expect(folded).to_be_visible()
        await expect(thought).to_have_count(0)
        await expect(visitor.answers.first).to_contain_text("You said: What does this take?")
        assert (await answer.inner_text()).count(f"· {tokens} tokens ·") == 1
        await visitor.screenshot("again")
        await visitor.page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
        await expect(line).to_be_visible()
        width = await visitor.page.evaluate("document.documentElement.scrollWidth")
        assert width <= NARROW[0], "the page fits a narrow screen"
        await visitor.screenshot("narrow")
        await visitor.page.set_viewport_size({"width": 320, "height": NARROW[1]})
        ends = "[...document.querySelectorAll('[id^=usage-]')].map(one => one.getBoundingClientRect().right)"
        assert await visitor.page.evaluate(f"Math.max(...{ends})") <= 320, "a line that is wider wraps"

    async with server.layer() as layer:
        thread = await layer.get_thread(thread_id)
    assert thread is not None
    for step in thread["steps"]:
        assert "tokens" not in (step["output"] or "")
    assert "·" not in str([one.body["messages"] for one in model_server.requests])
