"""What new users meet in the browser, on one server: a vote, a shared thread, a phone, a reload, search, versions.

Errors and warnings in the console fail each of these journeys.
"""

import re
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, expect

from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, Visitor, visit
from tests.support.patience import until
from tests.support.records import new_id, step, thread, user_id
from tests.support.server import AppServer
from threadkeeper.chat.wording import say

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), IN_THE_BROWSERS_LOOP]

ANN, BOB, RITA, PASSWORD = "ann", "bob", "rita", "a long password"
# Few tokens a second, as in `test_chinese`.
SLOW, TITLE = "slow:1000:0.2", "Rivers of the world"


@dataclass
class Journey:
    visitor: Visitor
    server: AppServer
    browser: Browser

    async def votes(self) -> list[tuple[int, str | None]]:
        async with self.server.layer() as layer:
            thread = await layer.get_thread(await self.visitor.thread_id())
        return [
            (step["feedback"]["value"], step["feedback"]["comment"]) for step in thread["steps"] if step["feedback"]
        ]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_new_user_searches_edits_votes_shares_and_returns(browser: Browser, start_server: StartServer) -> None:
    server = await start_server(OPENAI_MODELS=f"echo,{SLOW},hang,500", OPENAI_TITLE_MODEL=f"say:{TITLE}")
    for name, role in ((ANN, "user"), (BOB, "user"), (RITA, "reviewer")):
        await server.add_user(name, PASSWORD, role)
    async with visit(browser, server.base_url, "new-users") as visitor:
        journey = Journey(visitor, server, browser)
        await visitor.open()
        await expect(visitor.page).to_have_url(re.compile(r"/login\?next=/$"))
        await visitor.log_in(ANN, PASSWORD)
        await visitor.connected()
        thread_id = await vote(journey)
        await name_the_thread(journey, thread_id)
        await find(journey)
        await miss(journey)
        await share(journey, thread_id)
        await edit_and_go_between_versions(journey, thread_id)
        await keep_personal_settings(journey)
        await reload_during_an_answer(journey)
        await meet_an_error(journey)
        await delete(journey, thread_id)
    await use_a_phone(browser, server)
    await fit_into_the_header(browser, server)


async def vote(journey: Journey) -> str:
    """The click on a thumb counts, however the dialog is closed. Reasons and comment are optional."""
    visitor, page = journey.visitor, journey.visitor.page
    answer = await visitor.ask("How long is the Mekong?")
    await visitor.answered()
    down, up = answer.locator(".negative-feedback-off"), answer.locator(".positive-feedback-off")
    await clicked(journey, down)
    assert await journey.votes() == [(0, None)], "before the dialog is closed"
    await visitor.dialog.locator("textarea").fill("half a thought")
    await visitor.screenshot("vote")
    await page.keyboard.press("Escape")
    await voted(journey, answer, "negative", (0, None))
    await clicked(journey, up)
    await expect(visitor.dialog.get_by_role("button", name="Not correct")).to_have_count(0)
    await page.mouse.click(5, 400)
    await voted(journey, answer, "positive", (1, None))
    await clicked(journey, down)
    await visitor.dialog.get_by_role("button", name="Close").click()
    await voted(journey, answer, "negative", (0, None))
    # A second click takes the vote back, without a dialog.
    await answer.locator(".negative-feedback-on").click()
    await expect(down).to_be_visible()
    await expect(visitor.toast.first).to_contain_text("Vote removed")
    assert await journey.votes() == []
    await clicked(journey, down)
    reason = visitor.dialog.get_by_role("button", name="Incomplete")
    async with page.expect_response("**/page/reasons") as stored:
        await reason.click()
    assert (await stored.value).ok
    await expect(reason).to_have_attribute("aria-pressed", "true")
    await expect(visitor.dialog.locator("textarea")).to_have_value("")
    await visitor.dialog.locator("textarea").fill("Too short.")
    await visitor.screenshot("reasons")
    await visitor.dialog.locator("#submit-feedback").click()
    await voted(journey, answer, "negative", (0, "Too short."))
    # The dialog that changes a comment can be left without a change.
    await answer.locator("button:has(.lucide-message-circle)").click()
    await visitor.dialog.locator("textarea").fill("Something else.")
    await page.keyboard.press("Escape")
    await voted(journey, answer, "negative", (0, "Too short."))
    thread_id = await visitor.thread_id()
    async with journey.server.layer() as layer:
        review = [one async for one in reasons_of(layer, thread_id)]
    assert review == ["incomplete"]
    return thread_id


async def clicked(journey: Journey, thumb: Locator) -> None:
    """Click the thumb, and wait until the vote is stored."""
    async with journey.visitor.page.expect_response("**/page/vote") as stored:
        await thumb.click()
    assert (await stored.value).ok
    await expect(journey.visitor.dialog).to_contain_text("Your vote is saved.")


async def voted(journey: Journey, answer: Locator, thumb: str, stored: tuple[int, str | None]) -> None:
    await expect(journey.visitor.dialog).to_have_count(0)
    await expect(answer.locator(f".{thumb}-feedback-on")).to_be_visible()

    async def is_stored() -> bool:
        return await journey.votes() == [stored]

    # The page closes the dialog before the comment is stored.
    await until(is_stored)


async def reasons_of(layer: Any, thread_id: str) -> Any:
    for one in (await layer.open_thread_for_review(thread_id)).votes:
        for reason in one.reasons:
            yield reason


async def name_the_thread(journey: Journey, thread_id: str) -> None:
    """The title of the tab is the thread's name, and the button of the dialog names its act."""
    visitor = journey.visitor
    await expect(visitor.page).to_have_title(f"{TITLE} – Threadkeeper")
    await visitor.choose(thread_id, "rename")
    await visitor.dialog.locator("#name").fill("Asia")
    await visitor.dialog.get_by_role("button", name="Rename").click()
    await expect(visitor.page).to_have_title("Asia – Threadkeeper")
    await visitor.page.locator("#new-chat-button").first.click()
    await expect(visitor.dialog.get_by_role("button", name="New thread")).to_be_visible()
    await visitor.dialog.get_by_role("button", name="Cancel").click()


async def find(journey: Journey) -> None:
    """Search marks the words, in the titles and in what was said."""
    visitor = journey.visitor
    async with journey.server.layer() as layer:
        other = await thread(layer, await user_id(layer, ANN), "Europe")
        await layer.create_step(step(other, "Where does the Danube rise?"))
    found = await visitor.search("mekong")
    await expect(found.locator("mark").first).to_have_text("Mekong")
    await expect(found).to_contain_text("How long is the Mekong?")
    await visitor.screenshot("found")
    words = visitor.dialog.get_by_role("combobox")
    await words.fill("asia")
    await expect(found.locator("mark")).to_have_text("Asia")
    # The results of other words, one after the other: each has its own marks, also the thread that both find.
    await words.fill("danube")
    await expect(found.locator("mark")).to_have_text(["Danube"])
    await expect(found).to_contain_text("Where does the Danube rise?")
    await words.fill("mekong")
    await expect(found.locator("mark").first).to_have_text("Mekong")
    await words.fill("long")
    await expect(found.locator("mark").first).to_have_text("long")
    await expect(found.locator("mark", has_text="Mekong")).to_have_count(0)
    await visitor.page.keyboard.press("Escape")


async def miss(journey: Journey) -> None:
    """The page says that a thread is not there, also in Chinese and for a thread of someone else."""
    visitor, base_url = journey.visitor, journey.server.base_url
    await visitor.open(f"/thread/{new_id()}")
    await expect(visitor.toast).to_have_text("This thread does not exist, or you may not open it.")
    await expect(visitor.page).to_have_url(f"{base_url}/")
    async with journey.server.layer() as layer:
        private = await thread(layer, await user_id(layer, BOB), "Private")
    async with visit(
        journey.browser, base_url, "new-users-missing", locale="zh-CN", cookies=await visitor.page.context.cookies()
    ) as reader:
        await reader.open(f"/thread/{private}")
        await expect(reader.toast).to_have_text("此对话不存在，或者您无权打开。")
        with reader.watch.expecting("404", "not found"):
            await reader.open(f"/share/{private}")
            await expect(reader.toast).to_have_text("此对话不存在，或者您无权打开。")


async def share(journey: Journey, thread_id: str) -> None:
    """A user who opens the owner's URL is redirected to the shared view and can continue in a copy."""
    visitor, base_url = journey.visitor, journey.server.base_url
    await visitor.choose(thread_id, "share")
    await expect(visitor.dialog).to_contain_text("Signed-in users with the link can read this thread")
    await visitor.screenshot("share")
    await visitor.dialog.get_by_role("button", name="Create and copy the link").click()
    await expect(visitor.toast.first).to_contain_text("Link created")
    await visitor.page.keyboard.press("Escape")
    await visitor.choose(thread_id, "share")
    await expect(visitor.dialog.get_by_role("button", name="Copy the link", exact=True)).to_be_visible()
    await expect(visitor.dialog.get_by_role("button", name="Stop sharing")).to_be_visible()
    await visitor.screenshot("share-again")
    await visitor.page.keyboard.press("Escape")
    async with visit(journey.browser, base_url, "new-users-reader", dark=True) as reader:
        await reader.arrive(f"/thread/{thread_id}")
        await reader.log_in(BOB, PASSWORD)
        await expect(reader.page).to_have_url(f"{base_url}/share/{thread_id}")
        heading = reader.page.locator("#shared-thread")
        await expect(heading.get_by_role("heading")).to_have_text("Asia")
        await expect(heading).to_contain_text("Shared by ann on ")
        await expect(heading).to_contain_text("Read only")
        await expect(reader.page).to_have_title("Asia – Threadkeeper")
        await expect(reader.answers).to_contain_text("You said: How long is the Mekong?")
        await expect(reader.page.locator(".positive-feedback-off")).to_be_hidden()
        await expect(reader.page.locator("#chat-input")).to_have_count(0)
        await reader.screenshot("shared")
        await reader.page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
        await reader.screenshot("shared-narrow")
        await reader.header_fits()
        await heading.get_by_role("button", name="Continue in my own chat").click()
        await reader.page.wait_for_url("**/thread/*")
        assert await reader.thread_id() != thread_id
        await expect(reader.page.get_by_role("button", name="Regenerate")).to_be_visible()
        answer = await reader.ask("And the Nile?")
        await expect(answer).to_contain_text("You said: And the Nile?")
        await reader.answered()
        await expect(reader.questions).to_have_count(2)
        await reader.open("/")
        await reader.connected()
        await expect(heading).to_have_count(0)
        # The owner's own view of the link leads back to the thread.
    await visitor.open(f"/share/{thread_id}")
    await expect(visitor.page.locator("#shared-thread")).to_contain_text("Shared by you")
    await visitor.page.get_by_role("button", name="Open in my chat").click()
    await expect(visitor.page).to_have_url(f"{base_url}/thread/{thread_id}")
    await visitor.connected()
    await expect(visitor.questions).to_have_count(1)


async def edit_and_go_between_versions(journey: Journey, thread_id: str) -> None:
    """Editing says what it takes away; earlier versions come back, also after a new answer."""
    visitor, page = journey.visitor, journey.visitor.page
    question = visitor.questions.first
    await question.hover()
    await question.locator(".edit-message").click()
    await expect(question).to_contain_text("The message after it is removed")
    await expect(question).to_contain_text("Its earlier answer stays available.")
    await visitor.screenshot("edit")
    await question.get_by_role("button", name="Cancel").click()
    await expect(question).to_have_text("How long is the Mekong?")
    await question.hover()
    await question.locator(".edit-message").click()
    await question.locator("#edit-chat-input").fill("How long is the Nile?")
    await question.get_by_role("button", name="Send").click()
    await expect(visitor.answers).to_contain_text("How long is the Nile?")
    await visitor.answered()
    await expect(question).to_have_text("How long is the Nile?")
    previous, following = page.locator('[id^="show_version-previous"]'), page.locator('[id^="show_version-next"]')
    await expect(previous).to_have_text("\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK} 2/2")
    await expect(following).to_have_count(0)
    await visitor.screenshot("versions")
    await previous.click()
    await expect(following).to_have_text("1/2 \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}")
    await expect(previous).to_have_count(0)
    await expect(question).to_have_text("How long is the Mekong?")
    await expect(visitor.answers).to_contain_text("You said: How long is the Mekong?")
    # Its vote and comment are shown without a reload.
    await expect(visitor.answers.locator(".negative-feedback-on")).to_be_visible()
    await expect(visitor.answers.locator("button:has(.lucide-message-circle)")).to_be_visible()
    await visitor.screenshot("vote-restored")
    await page.get_by_role("button", name="Regenerate").click()
    # An answer with the same text is a version, too.
    await expect(previous).to_have_text("\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK} 3/3")
    await expect(page.get_by_role("button", name="Regenerate")).to_be_enabled()
    await expect(visitor.answers).to_have_count(1)
    await visitor.open(f"/thread/{thread_id}")
    await visitor.connected()
    await previous.click()
    await expect(question).to_have_text("How long is the Nile?")
    await expect(visitor.answers).to_contain_text("You said: How long is the Nile?")
    await expect(previous).to_have_text("\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK} 2/3")
    await visitor.screenshot("versions-between")
    await vote_for_the_current_version_only(visitor, previous, following)


async def vote_for_the_current_version_only(visitor: Visitor, previous: Locator, following: Locator) -> None:
    """In an earlier turn, only the page changes; a version that the conversation does not continue has no thumbs."""
    await visitor.ask("And the Rhine?")
    await visitor.answered()
    first = visitor.answers.first
    await expect(first.locator(".positive-feedback-off")).to_be_visible()
    await following.click()
    await expect(first).to_contain_text("The conversation continues with version 2.")
    for thumb in ("positive", "negative"):
        await expect(first.locator(f".{thumb}-feedback-off, .{thumb}-feedback-on")).to_be_hidden()
    await expect(visitor.answers.last.locator(".positive-feedback-off")).to_be_visible()
    await visitor.screenshot("versions-earlier-turn")
    await previous.click()
    await expect(first.locator(".positive-feedback-off")).to_be_visible()


async def keep_personal_settings(journey: Journey) -> None:
    visitor, page = journey.visitor, journey.visitor.page
    await page.locator("#chat-settings-open-modal").click()
    await page.locator("#system_prompt").fill("Answer like a captain.")
    await page.locator("#as_default").click()
    await visitor.screenshot("settings")
    await visitor.dialog.get_by_role("button", name="Save").click()
    await expect(visitor.toast.first).to_contain_text(say("setting_as_default_saved", "en"))
    await visitor.new_chat()
    await visitor.connected()
    await page.locator("#chat-settings-open-modal").click()
    await expect(page.locator("#system_prompt")).to_have_value("Answer like a captain.")
    await expect(page.locator("#as_default")).to_have_attribute("aria-checked", "false")
    await page.keyboard.press("Escape")
    await expect(visitor.dialog).to_have_count(0)


async def reload_during_an_answer(journey: Journey) -> None:
    """After a reload, Stop is available, and the page shows that the model works. A stopped answer can go on."""
    visitor, page = journey.visitor, journey.visitor.page
    answer = await visitor.ask("Count", model=SLOW)
    await expect(answer).to_contain_text("word-10 ")
    await visitor.thread_id()
    await page.reload()
    await expect(page.locator("#stop-button")).to_be_visible()
    shown = len(await answer.inner_text())
    await expect(answer).to_contain_text(re.compile(f"^.{{{shown + 50}}}", re.DOTALL))
    await page.locator("#stop-button").click()
    await expect(answer).to_contain_text(say("mark_stopped", "en"))
    await visitor.answered()
    await expect(visitor.answers).to_have_count(1)
    await visitor.screenshot("stopped")
    await page.get_by_role("button", name="Continue").click()
    await expect(answer).not_to_contain_text(say("mark_stopped", "en"))
    await expect(answer).to_contain_text(re.compile(r"word-1 .*word-1 "))
    await page.locator("#stop-button").click()
    await visitor.answered()
    await visitor.screenshot("continued")
    await visitor.new_chat()
    await visitor.ask("Wait", model="hang")
    await visitor.thread_id()
    await page.reload()
    await expect(page.locator("#stop-button")).to_be_visible()
    await expect(page.locator(".loading-cursor")).to_be_visible()
    await page.locator("#stop-button").click()
    await expect(visitor.answers).to_contain_text(say("stopped_before", "en"))
    await expect(page.get_by_role("button", name="Try again")).to_be_visible()
    await expect(page.locator(".positive-feedback-off")).to_be_hidden()


async def meet_an_error(journey: Journey) -> None:
    """An error has no thumbs."""
    visitor = journey.visitor
    await visitor.new_chat()
    await visitor.ask("Does it work?", model="500")
    await expect(visitor.answers).to_contain_text(say("error_server", "en"))
    await visitor.answered()
    await expect(visitor.page.get_by_role("button", name="Try again")).to_be_visible()
    await expect(visitor.page.locator(".positive-feedback-off")).to_be_hidden()
    await expect(visitor.page.locator(".negative-feedback-off")).to_be_hidden()
    await visitor.screenshot("error")


async def delete(journey: Journey, thread_id: str) -> None:
    visitor = journey.visitor
    await visitor.choose(thread_id, "delete")
    button = visitor.dialog.get_by_role("button", name="Delete")
    await expect(button).to_have_css("background-color", re.compile(r"^rgb\(1[5-9]\d, \d\d?, \d\d?\)$"))
    await visitor.screenshot("delete")
    await button.click()
    await expect(visitor.thread(thread_id)).to_have_count(0)


async def use_a_phone(browser: Browser, server: AppServer) -> None:
    """After the first question, the address is the thread's, and the first tap on the menu opens it."""
    async with visit(browser, server.base_url, "new-users-phone", size=NARROW) as visitor:
        await visitor.enter(BOB, PASSWORD)
        await visitor.connected()
        for number in range(2):
            await visitor.ask(f"Question {number} on a phone")
            await visitor.thread_id()
            await visitor.answered()
            await expect(visitor.page).to_have_title(f"{TITLE} – Threadkeeper")
            await visitor.page.locator("#sidebar-trigger-button").click()
            await expect(visitor.dialog).to_have_accessible_name("Threads")
            await expect(visitor.thread(await visitor.thread_id())).to_be_visible()
            await visitor.screenshot("menu")
            await visitor.page.reload()
            await visitor.connected()
            await expect(visitor.questions).to_have_text([f"Question {number} on a phone"])
            await visitor.new_chat()


async def fit_into_the_header(browser: Browser, server: AppServer) -> None:
    for locale in ("en-US", "zh-CN"):
        async with visit(browser, server.base_url, f"new-users-header-{locale}", size=NARROW, locale=locale) as visitor:
            await visitor.enter(RITA, PASSWORD)
            await visitor.connected()
            await visitor.ask("A header with everything in it")
            await visitor.answered()
            for width in (NARROW[0], 360, 320):
                await visitor.page.set_viewport_size({"width": width, "height": NARROW[1]})
                await visitor.header_fits()
            await visitor.screenshot("header")
