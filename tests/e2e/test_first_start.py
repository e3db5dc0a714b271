"""`make run` on a new machine without a key and an account: a chat that introduces itself as a demo."""

import re
import stat

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, SERVER_ENDED, Visitor, visit
from tests.support.server import SERVE
from threadkeeper.chat.wording import say

pytestmark = [pytest.mark.slow, IN_THE_BROWSERS_LOOP]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_first_start(browser: Browser, start_server: StartServer) -> None:
    server = await start_server(SERVE, OPENAI_API_KEY="", OPENAI_BASE_URL="", DATABASE_URL="", BLOB_URL="")
    printed = re.findall(r"Sign in as admin with the password (\S+)", server.log)
    assert len(printed) == 1
    secret = server.directory / "data" / "cookie_secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert secret.read_text().strip() not in server.log

    async with visit(browser, server.base_url, "first-start") as visitor:
        await visitor.arrive()
        await visitor.log_in("admin", printed[0])
        # Once, a new operator is sent to the first steps.
        await expect(visitor.page.locator("ol.steps > li")).to_have_count(5)
        await visitor.screenshot("first-steps")
        await visitor.open()
        await expect(visitor.page.locator("#header")).to_contain_text(say("demo_header", "en"))
        answer = await visitor.ask("Who are you?")
        await expect(answer).to_contain_text("This is a demo")
        await visitor.answered()
        await visitor.screenshot("demo")
        thread_id = await visitor.thread_id()
        await the_notice_fits(visitor, "en")

        with visitor.watch.expecting(*SERVER_ENDED):
            await server.restart()
            await visitor.open(f"/thread/{thread_id}")
            await expect(visitor.answers).to_contain_text("This is a demo")
    async with visit(
        browser, server.base_url, "first-start-chinese", size=NARROW, dark=True, locale="zh-CN"
    ) as visitor:
        await visitor.arrive()
        await visitor.log_in("admin", printed[0])
        await visitor.connected()
        await the_notice_fits(visitor, "zh-CN")
    async with visit(browser, server.base_url, "operator") as visitor:
        await visitor.enter("admin", printed[0], "/admin/start")
        invitation = await a_second_person_and_an_assistant(visitor)
    async with visit(browser, server.base_url, "second-person") as visitor:
        await visitor.page.goto(invitation)
        for field in ("password", "again"):
            await visitor.page.locator(f"input[name={field}]").fill("a sentence to remember")
        await visitor.page.get_by_role("button", name="Set the password").click()
        with visitor.watch.expecting("401", "Unauthorized"):
            await visitor.page.get_by_role("link", name="Sign in").click()
            await visitor.log_in("grace", "a sentence to remember")
        await expect(visitor.page.locator("#chat-profiles")).to_be_visible()
        await expect(await visitor.ask("Who are you?")).to_contain_text("This is a demo")
        await visitor.answered()
    assert server.log.count("Sign in as admin") == 1, "the password was printed again"


async def a_second_person_and_an_assistant(visitor: Visitor) -> str:
    """All that an operator does in the browser; gives the link of the invitation."""
    page = visitor.page
    await page.get_by_role("link", name="People").first.click()
    await page.get_by_text("Add a person").click()
    await page.locator("input[name=name]").fill("grace")
    await page.get_by_role("button", name="Add and show the link").click()
    invitation = await page.locator(".secret code").inner_text()
    await page.get_by_role("link", name="grace").click()
    await page.locator("input[name=amount]").fill("100000")
    await page.get_by_role("button", name="Set the limit").click()
    await expect(page.locator("#limits")).to_contain_text("100,000 tokens a month")
    await visitor.open("/assistants/new")
    await page.locator("input[name=name]").fill("Travel agent")
    await page.locator("p.save button").click()
    await visitor.open("/admin/start")
    done = page.locator("ol.steps > li.done")
    await expect(done).to_have_text([re.compile(one) for one in ("Add people", "Set a limit", "Make an assistant")])
    return invitation


async def the_notice_fits(visitor: Visitor, language: str) -> None:
    """On phones, the notice is whole, below the buttons of the header and above the messages."""
    notice = visitor.page.locator("#header").get_by_text(say("demo_header", language), exact=True)
    for width in (320, 360, NARROW[0]):
        await visitor.page.set_viewport_size({"width": width, "height": NARROW[1]})
        await expect(notice).to_be_visible()
        cut = "one => Math.max(one.scrollWidth - one.clientWidth, one.scrollHeight - one.clientHeight)"
        assert await notice.evaluate(cut) <= 0, width
        box, header = await notice.bounding_box(), await visitor.page.locator("#header").bounding_box()
        assert box is not None
        assert header is not None
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width
        assert box["y"] >= header["y"] + header["height"], width
        messages = await visitor.page.locator("#header ~ *, :has(> #header) ~ *").first.bounding_box()
        assert messages is not None
        assert box["y"] + box["height"] <= messages["y"], width
        await visitor.header_fits()
        await visitor.screenshot(f"demo-{width}")
