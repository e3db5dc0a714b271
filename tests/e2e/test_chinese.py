"""The chat in a browser that requests Chinese."""

import re

import pytest
from playwright.async_api import Browser, Route, expect

from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, visit
from threadkeeper.chat.wording import say
from threadkeeper.language.catalogue import PAGES

pytestmark = [pytest.mark.slow, IN_THE_BROWSERS_LOOP]

NAME, PASSWORD = "小明", "一个很长的密码啊"
CHINESE = "zh-CN"
# Few tokens a second: the page renders a growing answer again and again, and at fifty a second a busy machine does
# nothing else, so that no click comes through.
FAILS, SLOW = "503", "slow:1000:0.2"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_chat_is_in_chinese(browser: Browser, start_server: StartServer, engine: str) -> None:
    server = await start_server(OPENAI_MODELS=f"echo,{FAILS},{SLOW}", OPENAI_TITLE_MODEL="say:最长的河")
    await server.add_user(NAME, PASSWORD)
    async with visit(browser, server.base_url, f"{engine}-chinese", locale=CHINESE) as visitor:
        await visitor.arrive()
        await expect(visitor.page.locator("button[type=submit]")).to_have_text("登录")
        with visitor.watch.expecting("401", "Unauthorized"):
            await visitor.log_in(NAME, "错的密码错的密码")
            await expect(visitor.page.get_by_role("alert")).to_contain_text("密码")
        await visitor.log_in(NAME, PASSWORD)
        await expect(visitor.page.get_by_text(say("starter_explain", CHINESE))).to_be_visible()
        await visitor.connected()
        await expect(visitor.page.locator("#theme-toggle")).to_have_accessible_name(
            PAGES.say("page_name_theme", CHINESE)
        )
        await visitor.screenshot("welcome")

        answer = await visitor.ask("世界上最长的河是哪一条？")
        await expect(answer).to_contain_text("You said: 世界上最长的河是哪一条？")
        await visitor.answered()
        first = await visitor.thread_id()
        await expect(visitor.thread(first)).to_contain_text("最长的河")
        await visitor.page.locator("#chat-settings-open-modal").click()
        await expect(visitor.dialog).to_contain_text(say("setting_system_prompt", CHINESE))
        await visitor.screenshot("settings")
        await visitor.page.keyboard.press("Escape")

        await visitor.ask("会出错吗？", model=FAILS)
        await expect(visitor.answers.last).to_contain_text(say("error_server", CHINESE))
        await expect(visitor.page.get_by_role("button", name=say("try_again", CHINESE))).to_be_visible()
        await visitor.answered()
        await visitor.screenshot("model-error")

        await visitor.new_chat()
        answer = await visitor.ask("请从一数到四百", model=SLOW)
        await expect(answer).to_contain_text("word-20 ")
        await visitor.page.locator("#stop-button").click()
        await expect(answer).to_contain_text(say("mark_stopped", CHINESE))
        await visitor.answered()

        found = await visitor.search("长的")
        await expect(found).to_have_count(1)
        await expect(visitor.dialog.locator("[cmdk-group-heading]")).to_have_text(re.compile(r"^\d{4}年\d+月$"))
        await visitor.screenshot("search")
        left, asked = visitor.dialog.locator(".threadkeeper-left"), []
        await expect(left).to_have_count(0)

        async def lack_texts(route: Route) -> None:
            asked.append(route.request.url)
            await route.fulfill(json={"found": [], "left": 12_345})

        await visitor.page.route("**/page/excerpts?*", lack_texts)
        await visitor.dialog.get_by_role("combobox").fill("没有这个词")
        await expect(visitor.dialog.locator("[cmdk-empty]")).to_have_text("没有找到")
        await expect(left).to_have_text(PAGES.say("page_search_left", CHINESE, count=12_345))
        assert len(asked) == 1
        await visitor.screenshot("search-nothing")
        # No thread of an earlier search is in the list.
        async with visitor.page.expect_request("**/page/excerpts?*") as request:
            await visitor.dialog.get_by_role("combobox").fill("也没有这个词")
        assert "thread=" not in (await request.value).url
        await visitor.page.unroute("**/page/excerpts?*")
        await visitor.dialog.get_by_role("combobox").fill("长的")
        await expect(left).to_have_count(0)
        await found.click()
        await expect(visitor.questions.first).to_have_text("世界上最长的河是哪一条？")
        assert await visitor.thread_id() == first
        async with server.layer() as layer:
            thread = await layer.get_thread(first)
        assert thread is not None
        assert thread["name"] == "最长的河"
        assert thread["userIdentifier"] == NAME
