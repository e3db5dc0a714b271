"""The models of the chat in a browser: an admin takes one away, and the picker of a user no longer has it."""

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, WIDE, Visitor, visit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), IN_THE_BROWSERS_LOOP]

ADMIN, USER, PASSWORD = "olga", "uma", "a long password"
MODELS = ("echo", "context-echo", "say:costly")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_model_that_is_taken_away_leaves_the_picker(browser: Browser, start_server: StartServer) -> None:
    server = await start_server(OPENAI_MODELS=",".join(MODELS), OPENAI_TITLE_MODEL="echo")
    await server.add_user(ADMIN, PASSWORD, "admin")
    await server.add_user(USER, PASSWORD)
    async with (
        visit(browser, server.base_url, "models-user") as user,
        visit(browser, server.base_url, "models") as admin,
    ):
        await user.enter(USER, PASSWORD)
        await user.connected()
        assert await offered(user) == list(MODELS)
        await expect(await user.ask("Hello", model="say:costly")).to_contain_text("costly")
        await user.answered()
        thread_id = await user.thread_id()

        await admin.enter(ADMIN, PASSWORD, "/admin/models")
        page = admin.page
        await page.get_by_role("link", name="Change: say:costly").click()
        await page.get_by_role("radio", name="Reviewers and admins").check()
        await page.keyboard.press("Enter")
        await expect(page.locator(".notice")).to_contain_text("Saved.")
        row = page.locator("table.models tr", has_text="say:costly")
        await expect(row).to_contain_text("this page")
        await page.get_by_role("button", name="Make it the default: context-echo").click()
        await expect(page.locator("table.models tr", has_text="context-echo")).to_contain_text("default, chosen here")

        # The open page learns it with its next question, which the default answers.
        await expect(await user.ask("And now?")).to_contain_text("And now?")
        await expect(user.toast).to_contain_text("“say:costly” is no longer available")
        await user.answered()
        assert await offered(user) == ["context-echo", "echo"]
        await user.screenshot("taken-away")
        await user.open()
        await user.connected()
        assert await offered(user) == ["context-echo", "echo"]
        await user.open(f"/thread/{thread_id}")
        # Two answers, and what the thread says about its model.
        await expect(user.answers).to_have_count(3)
        await expect(user.answers.last).to_contain_text("say:costly is no longer on offer, so context-echo answers")
        await user.screenshot("thread")
    for dark, size, locale in (
        (False, WIDE, "en-US"),
        (True, WIDE, "en-US"),
        (False, NARROW, "en-US"),
        (True, NARROW, "zh-CN"),
        (False, WIDE, "zh-CN"),
    ):
        look = f"{'dark' if dark else 'light'}-{size[0]}-{locale[:2]}"
        async with visit(browser, server.base_url, f"models-{look}", size=size, dark=dark, locale=locale) as visitor:
            await visitor.enter(ADMIN, PASSWORD, "/admin/models")
            await fits(visitor, "list")
            await visitor.open("/admin/models/edit?model=say:costly")
            await fits(visitor, "edit")
            await visitor.open("/admin/models")
            await visitor.page.locator("table.models tr", has_text="say:costly").locator("form button").first.click()
            await expect(visitor.page.locator("#tried")).to_contain_text("costly")
            await fits(visitor, "tried")


async def offered(visitor: Visitor) -> list[str]:
    """The models in the picker, which is closed again."""
    await visitor.page.locator("#mode-picker-trigger-model").click()
    options = visitor.page.locator("#mode-picker-popover-model").get_by_role("option")
    await expect(options.first).to_be_visible()
    names = [text.strip() for text in await options.all_inner_texts()]
    await visitor.page.keyboard.press("Escape")
    await expect(options).to_have_count(0)
    return names


async def fits(visitor: Visitor, name: str) -> None:
    await visitor.screenshot(name)
    assert await visitor.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
