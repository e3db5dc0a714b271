"""Refused messages and waits on the real page: the button, the pencil, the countdown and Stop."""

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, Visitor, visit
from tests.support.sample_files import picture
from threadkeeper.chat.wording import say

pytestmark = [
    pytest.mark.slow,
    IN_THE_BROWSERS_LOOP,
    pytest.mark.timeout(300),
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]

NAME, PASSWORD = "ann", "a long password"
NO_PICTURES, BUSY = "no-pictures", "429:9:20"


async def attach(visitor: Visitor) -> None:
    await visitor.attach(picture("cat.png"))
    await expect(visitor.page.locator("#attachments img")).to_be_visible()


async def test_a_refused_picture_and_a_long_wait(browser: Browser, start_server: StartServer) -> None:
    server = await start_server(OPENAI_MODELS=f"{NO_PICTURES},{BUSY}", OPENAI_MAX_RETRIES="1")
    await server.add_user(NAME, PASSWORD)
    async with visit(browser, server.base_url, "refusals") as visitor:
        await visitor.enter(NAME, PASSWORD)
        await visitor.connected()
        await attach(visitor)
        await visitor.ask("What is in this picture?")
        await expect(visitor.answers.last).to_contain_text("cannot process images")
        await visitor.answered()
        button = visitor.page.get_by_role("button", name="Ask again without the files")
        await expect(button).to_be_visible()
        await visitor.screenshot("refused")
        await button.click()
        await expect(visitor.answers.last).to_contain_text("You said: What is in this picture?")
        await expect(visitor.answers.first).to_contain_text("sent to the model without them")
        await expect(visitor.page.get_by_role("button", name="Ask again without the files")).to_have_count(0)

        await visitor.answered()
        await attach(visitor)
        await visitor.ask("And in this one?")
        await expect(visitor.answers.last).to_contain_text("cannot process images")
        await visitor.answered()
        await visitor.edit(visitor.questions.last, "What is 2+2?")
        await expect(visitor.answers.last).to_contain_text("You said: What is 2+2?")
        await visitor.answered()

        waiting = await visitor.ask("Are you there?", model=BUSY)
        await expect(waiting).to_contain_text("The next attempt starts in 18 s.")
        await visitor.screenshot("waiting")
        await visitor.page.locator("#stop-button").click()
        await expect(visitor.answers.last).to_contain_text(say("stopped_before", "en"))
        await expect(visitor.page.get_by_text("The next attempt")).to_have_count(0)
        thread_id = await visitor.thread_id()
        cookies = await visitor.page.context.cookies()
    async with visit(browser, server.base_url, "refusals-dark", size=NARROW, dark=True, cookies=cookies) as visitor:
        await visitor.open(f"/thread/{thread_id}")
        await visitor.connected()
        await attach(visitor)
        await visitor.ask("And this?", model=NO_PICTURES)
        await expect(visitor.answers.last).to_contain_text("cannot process images")
        await visitor.answered()
        await visitor.screenshot("refused")
        await visitor.page.locator("#chat-settings-open-modal").click()
        await expect(visitor.dialog.get_by_text("No system prompt")).to_be_visible()
        await visitor.screenshot("settings")
