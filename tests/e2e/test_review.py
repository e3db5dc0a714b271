"""The review of a bad answer in two real browsers.

A user votes thumbs down. A reviewer finds, rates, copies, corrects and exports the answer, and the user sees who opened
the thread. With screenshots of both themes, wide and narrow.
"""

import json
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, WIDE, Visitor, visit
from tests.support.server import AppServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), IN_THE_BROWSERS_LOOP]

USER, REVIEWER, PASSWORD = "uma", "rita", "a long password"
HOSTILE = "<img src=x onerror=alert(1)>"
QUESTION, BETTER = f"How long is the Danube? {HOSTILE}", "The Danube is **2,850 km** long: $l = 2850$."
COMMENT, PURPOSE, REASON = f"That is not a length. {HOSTILE}", "A user complained", "Not correct"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_from_a_thumbs_down_to_a_better_answer(
    browser: Browser, start_server: StartServer, tmp_path: Path
) -> None:
    server = await start_server(
        OPENAI_MODELS="echo", REVIEW_ASK_PURPOSE="true", REVIEW_TELL_USERS="true", REVIEW_PSEUDONYM_KEY="a key"
    )
    await server.add_user(USER, PASSWORD)
    await server.add_user(REVIEWER, PASSWORD, "reviewer")
    async with (
        visit(browser, server.base_url, "review-user") as user,
        visit(browser, server.base_url, "review-reviewer") as reviewer,
    ):
        thread_id = await dislike(user)
        await find(reviewer)
        await judge(reviewer, thread_id)
        copy_id = await write_a_better_answer(reviewer)
        await link(reviewer, thread_id, copy_id)
        await export_the_pair(reviewer, tmp_path)
        await list_who_opened_the_thread(user, thread_id)
    await look(browser, server, thread_id)


async def log_in(visitor: Visitor, name: str) -> None:
    await visitor.enter(name, PASSWORD)
    await visitor.connected()


async def dislike(visitor: Visitor) -> str:
    """Ask, vote thumbs down, and give a comment and a reason in the same dialog."""
    await log_in(visitor, USER)
    await expect(visitor.page.locator('#header a[href="/review"]')).to_have_count(0)
    answer = await visitor.ask(QUESTION)
    await visitor.answered()
    await answer.locator(".negative-feedback-off").click()
    reason = visitor.dialog.get_by_role("button", name=REASON)
    await expect(reason).to_be_visible()
    async with visitor.page.expect_response("**/page/reasons") as stored:
        await reason.click()
    assert (await stored.value).ok
    await expect(reason).to_have_attribute("aria-pressed", "true")
    await visitor.dialog.locator("textarea").fill(COMMENT)
    await visitor.screenshot("why")
    await visitor.dialog.locator("#submit-feedback").click()
    await expect(answer.locator(".negative-feedback-on")).to_be_visible()
    await expect(visitor.dialog).to_have_count(0)
    return await visitor.thread_id()


async def find(visitor: Visitor) -> None:
    """Open the thread with two clicks from the chat, after giving a purpose."""
    await log_in(visitor, REVIEWER)
    await visitor.screenshot("chat")
    await visitor.page.locator('#header a[href="/review"]').click()
    row = visitor.page.locator("ol.answers > li")
    await expect(row).to_have_count(1)
    # If a thread can be opened only with a purpose, the list does not show its content.
    await expect(row).to_contain_text("Opens after you give a purpose")
    await expect(row).not_to_contain_text(COMMENT)
    await expect(row).to_contain_text(REASON)
    await visitor.screenshot("inbox")
    await row.locator("a.cover").click()
    await visitor.screenshot("purpose")
    await visitor.page.get_by_label("Purpose").fill(PURPOSE)
    await visitor.page.get_by_role("button", name="Open the thread").click()


async def judge(visitor: Visitor, thread_id: str) -> None:
    """By keyboard: select the next answer and the second label, and write a better answer."""
    page = visitor.page
    await expect(page.locator(".user_message")).to_contain_text(QUESTION)
    await expect(page.locator(".vote")).to_contain_text(COMMENT)
    assert thread_id in page.url
    # Keys work once the page's deferred script has run.
    await page.wait_for_load_state()
    await page.keyboard.press("j")
    await page.keyboard.press("2")
    await expect(page.get_by_role("radio", name="Wrong")).to_be_checked()
    await page.get_by_label("Not correct").check()
    await page.get_by_label("Better answer").fill(BETTER)
    await visitor.screenshot("judging")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".verdict")).to_contain_text("Wrong")
    await expect(page.locator(".verdict strong")).to_have_text("2,850 km")
    await expect(page.locator(".verdict math mo")).to_have_text("=")
    await visitor.screenshot("judged")


async def write_a_better_answer(visitor: Visitor) -> str:
    """Copy the thread to a chat of the reviewer, and continue there."""
    await visitor.page.get_by_role("button", name="Copy to my chat", exact=True).click()
    await visitor.connected()
    await expect(visitor.answers).to_have_count(1)
    await visitor.ask("The length of the Danube in km, please")
    await visitor.answered()
    await expect(visitor.answers).to_have_count(2)
    await visitor.screenshot("taken-over")
    return await visitor.thread_id()


async def link(visitor: Visitor, thread_id: str, copy_id: str) -> None:
    assert copy_id != thread_id
    await visitor.open(f"/review/threads/{thread_id}")
    await visitor.screenshot("copy")
    await visitor.page.get_by_role("button", name="Save as better answer").click()
    await expect(visitor.page.get_by_role("link", name=f"Better answer by {REVIEWER}")).to_be_visible()
    # The original has not changed.
    await expect(visitor.page.locator("article.assistant_message")).to_have_count(1)


async def export_the_pair(visitor: Visitor, folder: Path) -> None:
    page = visitor.page
    await visitor.open("/review?thumb=down")
    await page.get_by_role("link", name="Export these").click()
    await page.get_by_label("Purpose").fill(PURPOSE)
    await visitor.screenshot("export")
    async with page.expect_download() as started:
        await page.get_by_role("button", name="Download").click()
    download = await started.value
    path = folder / download.suggested_filename
    await download.save_as(path)
    (pair,) = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert (pair["chosen"], pair["source"], pair["prompt"][-1]["content"]) == (BETTER, "verdict", QUESTION)
    assert pair["user"].startswith("user-"), "a pseudonym"
    await visitor.open("/review/numbers")
    await expect(page.locator(".chart.js-plotly-plot")).to_have_count(2)


async def list_who_opened_the_thread(visitor: Visitor, thread_id: str) -> None:
    page = visitor.page
    await visitor.open(f"/thread/{thread_id}")
    await visitor.connected()
    reviewed = page.get_by_role("button", name="Reviewed")
    await expect(reviewed).to_be_visible()
    await visitor.screenshot("reviewed")
    await page.locator('#header a[href="/me"]').click()
    rows = page.locator("table.looked tbody tr")
    await expect(rows.first).to_contain_text(REVIEWER)
    for words in ("opened it", "copied it", "exported it"):
        await expect(rows.filter(has_text=words).first).to_contain_text(PURPOSE)
    await visitor.screenshot("who-looked")


async def look(browser: Browser, server: AppServer, thread_id: str) -> None:
    for dark in (False, True):
        for size in (WIDE, NARROW):
            name = f"review-{'dark' if dark else 'light'}-{'wide' if size == WIDE else 'narrow'}"
            async with visit(browser, server.base_url, name, size=size, dark=dark) as visitor:
                address = f"/review/threads/{thread_id}"
                await visitor.enter(REVIEWER, PASSWORD, address)
                await fits(visitor, "purpose")
                await visitor.page.get_by_label("Purpose").fill(PURPOSE)
                await visitor.page.get_by_role("button", name="Open the thread").click()
                await fits(visitor, "thread")
                for path in ("", "/queue", "/numbers", "/export"):
                    await visitor.open(f"/review{path}")
                    await fits(visitor, path.removeprefix("/") or "inbox")
                with visitor.watch.expecting("400"):
                    await visitor.open("/review?thumb=sideways")
                await fits(visitor, "bad-address")
                await visitor.enter(USER, PASSWORD, "/me")
                await fits(visitor, "me")
                with visitor.watch.expecting("404"):
                    await visitor.open("/review")
                await fits(visitor, "not-for-users")


async def fits(visitor: Visitor, name: str) -> None:
    """Nothing but tables scrolls sideways."""
    await visitor.page.wait_for_load_state("networkidle")
    await visitor.screenshot(name)
    assert await visitor.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
