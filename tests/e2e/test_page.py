"""What the chat's page does beyond Chainlit's: formulas and amounts, the order of threads, keys of an input method."""

import asyncio

import pytest
from playwright.async_api import Browser, Locator, Route, expect

from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, Visitor, visit
from tests.support.server import AppServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), IN_THE_BROWSERS_LOOP]

NAME, PASSWORD = "ann", "a long password"
PRICES = "It costs $5 for one month and $50 for a year."
TEXT = rf"""{PRICES}

- **$5** or *$6*, US$5-10, 价格是$5，公式$x_1$很好
- so \(a+b\) is, `$c $d`, \$7 and $\$8$

| month | year |
|---|---|
| $9 | $\$10$ or $11 |

\[
e^2
+ f
\]

    $12 or $13

$$
g
$$"""
FORMULAS = ["x_1", "a+b", r"\$8", r"\$10", "e^2\n+ f", "g"]


async def formulas(message: Locator) -> list[str]:
    return await message.locator("annotation").all_text_contents()


async def typed_by_an_input_method(visitor: Visitor, text: str, *keys: dict[str, object]) -> None:
    """Type a text by an input method that ends the composition before it sends these keys."""
    box = visitor.page.locator("#chat-input")
    await box.fill(text)
    await box.evaluate(
        """(box, keys) => {
            for (const kind of ["compositionstart", "compositionend"])
                box.dispatchEvent(new CompositionEvent(kind, {bubbles: true}));
            for (const key of keys)
                box.dispatchEvent(new KeyboardEvent("keydown", {bubbles: true, cancelable: true, ...key}));
        }""",
        list(keys),
    )


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_page(browser: Browser, start_server: StartServer, engine: str) -> None:
    server = await start_server(OPENAI_MODELS="echo")
    await server.add_user(NAME, PASSWORD)
    async with visit(browser, server.base_url, f"{engine}-page") as visitor:
        await visitor.enter(NAME, PASSWORD)
        await visitor.connected()
        first = await amounts_stay_text(visitor, server)
        await shared_as_in_the_chat(visitor, first)
        await the_thread_written_to_last_is_first(visitor, first)
        await enter_of_an_input_method_sends_nothing(visitor)
        await the_newest_connection_counts(visitor, first)


async def amounts_stay_text(visitor: Visitor, server: AppServer) -> str:
    answer = await visitor.ask(TEXT)
    await visitor.answered()
    thread_id = await visitor.thread_id()
    for _ in ("streamed", "resumed"):
        answer = visitor.answers.first
        await expect(answer).to_contain_text(PRICES)
        assert await formulas(answer) == FORMULAS
        words = await answer.inner_text()
        for amount in ("$5 or $6, US$5-10, 价格是$5，公式", "$c $d", "$7 and", "$9", "or $11", "$12 or $13"):
            assert amount in words, amount
        assert "&#" not in words
        assert "$$" not in words
        question = await visitor.questions.first.inner_text()
        assert TEXT.splitlines()[2] in question, "a question is shown as it was typed"
        await visitor.screenshot("formulas")
        await visitor.open(f"/thread/{thread_id}")
        await expect(visitor.questions).to_have_count(1)
    await visitor.answers.first.locator("button:has(.lucide-copy)").last.click()
    await expect(visitor.answers.first.locator(".lucide-check")).to_be_visible()
    assert await visitor.page.evaluate("navigator.clipboard.readText()") == f"You said: {TEXT}"
    async with server.layer() as layer:
        thread = await layer.get_thread(thread_id)
    assert thread is not None
    outputs = [step["output"] for step in thread["steps"] if step["type"] == "assistant_message"]
    assert outputs == [f"You said: {TEXT}"], "it is stored as it came"
    return thread_id


async def the_newest_connection_counts(visitor: Visitor, thread_id: str) -> None:
    """A thread is continued although the cookie of the page's first connection comes after that of its second one."""
    asked: list[asyncio.Task[None]] = []

    async def answered_last(route: Route) -> None:
        asked.append(asyncio.create_task(route.continue_()) if asked else asyncio.create_task(later(route)))

    async def later(route: Route) -> None:
        await expect(visitor.questions).not_to_have_count(0)
        await visitor.connected()
        await route.continue_()

    await visitor.page.route("**/set-session-cookie", answered_last)
    await visitor.open(f"/thread/{thread_id}")
    await expect(visitor.questions).not_to_have_count(0)
    number = await visitor.questions.count()
    await asyncio.gather(*asked)
    await visitor.page.wait_for_load_state("networkidle")
    await visitor.page.unroute("**/set-session-cookie")
    await visitor.ask("More of it")
    await visitor.answered()
    assert await visitor.thread_id() == thread_id
    await visitor.open(f"/thread/{thread_id}")
    await expect(visitor.questions).to_have_count(number + 1)


async def shared_as_in_the_chat(visitor: Visitor, thread_id: str) -> None:
    await visitor.choose(thread_id, "share")
    await visitor.dialog.get_by_role("button", name="Copy link").or_(visitor.dialog.locator("button")).first.click()
    await expect(visitor.toast).to_be_visible()
    await visitor.open(f"/share/{thread_id}")
    await expect(visitor.answers.first).to_contain_text(PRICES)
    assert await formulas(visitor.answers.first) == FORMULAS
    # Chainlit shows a shared question as Markdown.
    assert await formulas(visitor.questions.first) == FORMULAS
    await expect(visitor.questions.first).to_contain_text(PRICES)
    await visitor.screenshot("formulas-shared")


async def the_thread_written_to_last_is_first(visitor: Visitor, first: str) -> None:
    await visitor.open()
    await visitor.connected()
    await visitor.ask("A second thread")
    await visitor.answered()
    second = await visitor.thread_id()
    await expect(visitor.threads).to_have_count(2)

    async def shown() -> list[str | None]:
        return [await one.get_attribute("id") for one in await visitor.threads.all()]

    assert await shown() == [f"thread-{second}", f"thread-{first}"]
    await visitor.open(f"/thread/{first}")
    await visitor.connected()
    await expect(visitor.questions).to_have_count(1)
    await visitor.ask("And now in the first thread")
    await visitor.answered()
    for _ in ("at once", "after a reload"):
        await expect(visitor.threads).to_have_count(2)
        await expect(visitor.threads.first).to_have_attribute("id", f"thread-{first}")
        await visitor.page.reload()
        await visitor.connected()
    await visitor.screenshot("threads")


async def enter_of_an_input_method_sends_nothing(visitor: Visitor) -> None:
    number = await visitor.questions.count()
    box = visitor.page.locator("#chat-input")
    await typed_by_an_input_method(visitor, "北京", {"key": "Enter", "keyCode": 229})
    await typed_by_an_input_method(visitor, "北京", {"key": "Enter", "keyCode": 229, "isComposing": True})
    await expect(box).to_have_value("北京")
    await visitor.page.locator("#chat-settings-open-modal").click()
    await expect(visitor.dialog).to_be_visible()
    await visitor.page.locator("#system_prompt").evaluate(
        """box => box.dispatchEvent(
            new KeyboardEvent("keydown", {key: "Escape", keyCode: 229, bubbles: true, cancelable: true}))"""
    )
    await expect(visitor.dialog).to_be_visible()
    await visitor.page.keyboard.press("Escape")
    await expect(visitor.dialog).to_have_count(0)
    assert await visitor.questions.count() == number
    await typed_by_an_input_method(visitor, "北京好", {"key": "Enter", "keyCode": 13})
    await expect(visitor.questions).to_have_count(number + 1)
    await expect(visitor.questions.last).to_contain_text("北京好")
    await visitor.answered()
