"""The side bar's own part: pinned threads, folders, and the acts in the menu of a thread."""

import asyncio
import re

import pytest
from playwright.async_api import Browser, Route, expect

from datalayer import acting_as, create_data_layer
from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, WIDE, Visitor, visit
from tests.support.records import thread

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), IN_THE_BROWSERS_LOOP]

NAME, PASSWORD = "ann", "a long password"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_every_day(browser: Browser, start_server: StartServer, engine: str, database_url: str) -> None:
    server = await start_server(OPENAI_MODELS="echo")
    await server.add_user(NAME, PASSWORD)
    async with visit(browser, server.base_url, f"{engine}-everyday") as visitor:
        await visitor.enter(NAME, PASSWORD)
        layer = create_data_layer(database_url)
        user = await layer.get_user(NAME)
        assert user
        with acting_as(NAME):
            one_word = await thread(layer, user.id, "W" * 200)
            at_work = await thread(layer, user.id, "Minutes of the meeting", tags=["work"])
            await layer.put_prompt("translate", "Translate into {language}: {text}")
            travel = await thread(layer, user.id, "A week in Lisbon 里斯本", tags=["travel"])
        await layer.close()
        await visitor.open("/")
        await visitor.connected()
        await threads_are_pinned_and_archived(visitor, at_work, travel)
        await a_folder_filters_the_side_bar(visitor, at_work, one_word)
        await visitor.page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
        await a_temporary_thread_says_so_and_is_in_no_list(visitor)
        await a_prompt_is_chosen_and_filled_in(visitor)
        await the_keys_are_shown_and_a_tab_behind_is_marked(visitor)


async def threads_are_pinned_and_archived(visitor: Visitor, at_work: str, travel: str) -> None:
    page, own = visitor.page, visitor.page.locator("#own-threads")
    menu = page.get_by_role("menu")
    await page.locator(f"#thread-{at_work}").hover()
    await page.locator(f"#thread-{at_work} #thread-options").click()
    await expect(menu.get_by_role("menuitem", name="Archive")).to_be_visible()
    await visitor.screenshot("menu")
    # The menu's own keys reach the acts that it does not know.
    await page.keyboard.press("End")
    for _ in ("Fork", "Archive", "Pin"):
        await page.keyboard.press("ArrowUp")
    await expect(menu.get_by_role("menuitem", name="Pin")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(own.get_by_role("link", name="Minutes of the meeting")).to_be_visible()
    await expect(menu).to_have_count(0)

    await page.locator(f"#thread-{travel}").hover()
    await page.locator(f"#thread-{travel} #thread-options").click()
    await menu.get_by_role("menuitem", name="Archive").click()
    await expect(page.locator(f"#thread-{travel}")).to_be_hidden()
    await visitor.open("/")
    await expect(page.locator(f"#thread-{at_work}")).to_be_visible()
    await expect(page.locator(f"#thread-{travel}")).to_have_count(0)

    await page.route("**/page/threads/*/marks", lambda route: route.abort())
    with visitor.watch.expecting("ERR_FAILED"):
        await page.locator(f"#thread-{at_work}").hover()
        await page.locator(f"#thread-{at_work} #thread-options").click()
        await menu.get_by_role("menuitem", name="Unpin").click()
        await expect(own.get_by_role("alert")).to_have_text("The thread could not be changed. Please try again.")
    await page.unroute("**/page/threads/*/marks")

    # A menu that opens before the server has told what is pinned says it as soon as it is told.
    told = asyncio.Event()

    async def when_told(route: Route) -> None:
        await told.wait()
        await route.continue_()

    await page.route("**/page/side-bar?*", when_told)
    await visitor.open("/")
    await page.locator(f"#thread-{at_work}").hover()
    await page.locator(f"#thread-{at_work} #thread-options").click()
    await expect(menu.get_by_role("menuitem", name="Pin", exact=True)).to_be_visible()
    told.set()
    await expect(menu.get_by_role("menuitem", name="Unpin")).to_be_visible()
    await page.unroute("**/page/side-bar?*")
    # Not by Escape: that would close the entry's tooltip instead, if it is there by then.
    await visitor.open("/")

    await own.get_by_role("link", name="Minutes of the meeting").click()
    await page.wait_for_url(f"**/thread/{at_work}")
    await expect(own.get_by_role("link", name="Minutes of the meeting")).to_have_attribute("aria-current", "page")


async def a_folder_filters_the_side_bar(visitor: Visitor, at_work: str, one_word: str) -> None:
    page, own = visitor.page, visitor.page.locator("#own-threads")
    await own.get_by_label("Folder").select_option("work")
    await expect(page.locator("#thread-history")).to_be_hidden()
    await expect(own.get_by_role("link", name="Minutes of the meeting")).to_have_count(2)
    await visitor.screenshot("folder")
    await own.get_by_label("Folder").select_option("")
    await expect(page.locator(f"#thread-{at_work}")).to_be_visible()
    await own.get_by_role("link", name="All threads").click()
    await page.wait_for_url("**/me/threads")
    await expect(page.get_by_role("link", name="Minutes of the meeting", exact=True)).to_be_visible()
    await page.get_by_label("Select all on this page").check()
    await expect(page.get_by_label("Select “Minutes of the meeting”")).to_be_checked()
    await visitor.screenshot("threads")
    await page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await visitor.screenshot("threads-narrow")
    await visitor.open(f"/me/export?thread={one_word}")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await visitor.screenshot("export-narrow")


async def a_temporary_thread_says_so_and_is_in_no_list(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.open("/")
    await visitor.connected()
    await page.locator("#command-Temporary").click()
    await visitor.screenshot("temporary-begins")
    await page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
    await page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished))")
    await visitor.screenshot("temporary-begins-narrow")
    right = "document.querySelector('{}').getBoundingClientRect().right"
    assert await page.evaluate(f"{right.format('#chat-submit')} < {right.format('#message-composer')}")
    await page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
    await visitor.ask("Where is the kangaroo?")
    await visitor.answered()
    await expect(page.get_by_text("This thread is temporary")).to_be_visible()
    await expect(page.locator("#command-Temporary")).to_have_count(0)
    thread_id = await visitor.thread_id()
    await visitor.screenshot("temporary")
    await visitor.open(f"/thread/{thread_id}")
    await expect(page.get_by_text("This thread is temporary")).to_be_visible()
    await expect(page.locator("#thread-history li").first).to_be_visible()
    await expect(page.locator(f"#thread-{thread_id}")).to_have_count(0)
    await visitor.open("/me/threads?view=temporary")
    await expect(page.locator(".threads .badge")).to_contain_text("Deleted at")
    await visitor.open(f"/me/threads/{thread_id}/fork")
    await visitor.screenshot("fork")
    await page.get_by_role("button", name="New thread from here").first.click()
    await expect(page.get_by_text("This thread was forked from")).to_be_visible()
    await expect(page.locator("#thread-history li", has_text="(fork)")).to_be_visible()
    await expect(page.get_by_text("This thread is temporary")).to_have_count(0)


async def a_prompt_is_chosen_and_filled_in(visitor: Visitor) -> None:
    page, box = visitor.page, visitor.page.locator("#chat-input")
    await visitor.open("/")
    await visitor.connected()
    await box.click()
    await page.keyboard.type("/tra")
    await expect(page.locator(".command-item")).to_contain_text("Translate into {language}")
    await visitor.screenshot("prompts")
    await page.keyboard.press("Enter")
    await expect(box).to_have_value("Translate into {language}: {text}")
    await page.keyboard.type("Portuguese")
    await page.keyboard.press("Tab")
    await page.keyboard.type("good morning")
    await expect(box).to_have_value("Translate into Portuguese: good morning")
    await page.keyboard.press("Enter")
    await expect(visitor.questions.last).to_have_text("Translate into Portuguese: good morning")
    await visitor.answered()
    await visitor.open("/me/prompts")
    await expect(page.get_by_text("/translate")).to_be_visible()
    await visitor.screenshot("prompts-page")


async def the_keys_are_shown_and_a_tab_behind_is_marked(visitor: Visitor) -> None:
    page, box, dialog = visitor.page, visitor.page.locator("#chat-input"), visitor.page.locator("#threadkeeper-help")
    await visitor.open("/")
    await visitor.connected()
    await box.press("?")
    await expect(box).to_have_value("?")
    await box.fill("")
    await box.blur()
    await page.keyboard.press("?")
    await expect(dialog.get_by_role("heading")).to_have_text("Keys")
    await visitor.screenshot("keys")
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)

    await page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    await visitor.ask("Are you done?")
    # Not wait_for_function: the page's policy forbids what it does from its second look on.
    await expect(page).to_have_title(re.compile("^✓ "), timeout=30_000)
    await page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page).not_to_have_title(re.compile("^✓"))
