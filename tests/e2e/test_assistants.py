"""An assistant in two real browsers: an admin makes it, a user chats with it, the admin deletes it.

With screenshots of both themes, wide and narrow.
"""

import io

import pytest
from PIL import Image
from playwright.async_api import Browser, Locator, expect

from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, WIDE, Visitor, visit
from tests.support.server import AppServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), IN_THE_BROWSERS_LOOP]

ADMIN, USER, PASSWORD = "ada", "uma", "a long password"
PROLOGUE, OPENING, TIP = "Where do you want to go?", "A week in Rome", "And the hotel?"
GONE = "The assistant “travel-agent” no longer exists."


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_from_five_questions_to_a_chat_that_outlives_its_assistant(
    browser: Browser, start_server: StartServer
) -> None:
    server = await start_server(OPENAI_MODELS="echo,context-echo", OPENAI_TITLE_MODEL="say:A journey")
    await server.add_user(ADMIN, PASSWORD, "admin")
    await server.add_user(USER, PASSWORD)
    async with (
        visit(browser, server.base_url, "assistants-admin") as admin,
        visit(browser, server.base_url, "assistants-user") as user,
    ):
        await make(admin)
        thread_id = await chat(user)
        await keep_to_its_thread(user, thread_id)
        await look(browser, server, thread_id)
        await delete(admin)
        await go_on_without(user, thread_id)


async def log_in(visitor: Visitor, name: str) -> None:
    await visitor.enter(name, PASSWORD)
    await visitor.connected()


async def make(visitor: Visitor) -> None:
    """Answer five questions, try one before it is saved, add a picture and a tip."""
    page = visitor.page
    await log_in(visitor, ADMIN)
    await expect(page.locator("#chat-profiles")).to_have_count(0)
    await page.locator('#header a[href="/assistants"]').click()
    await page.get_by_role("link", name="New assistant").click()
    await page.get_by_label("Name", exact=True).fill("Travel agent")
    await page.get_by_label("Description").fill("Plans journeys.")
    await page.get_by_label("Prompt", exact=True).fill("You are a travel agent.")
    await page.get_by_label("First message").fill(PROLOGUE)
    await page.get_by_label("Opening prompts").fill(OPENING)
    await page.get_by_label("Question", exact=True).fill("To Rome?")
    await page.get_by_role("button", name="Ask").click()
    await expect(page.locator(".tried")).to_contain_text("You said: To Rome?")
    await visitor.screenshot("tried")
    await page.get_by_label("Name", exact=True).press("Enter")
    await expect(page.get_by_role("status")).to_have_text("Saved as version 1.")
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), (20, 120, 110)).save(picture, "PNG")
    await page.get_by_label("Picture").set_input_files(
        {"name": "face.png", "mimeType": "image/png", "buffer": picture.getvalue()}
    )
    await page.get_by_role("button", name="Change picture").click()
    await expect(page.get_by_role("status")).to_have_text("Saved as version 2.")
    await page.get_by_role("link", name="All settings").click()
    await page.get_by_label("Tips after each answer").fill(TIP)
    await page.get_by_label("Temperature").fill("5")
    with visitor.watch.expecting("400"):
        await page.get_by_role("button", name="Save").last.click()
        await expect(page.get_by_role("alert")).to_contain_text("Enter a number from 0 to 2.")
    await page.get_by_label("Temperature").fill("0.5")
    await page.get_by_role("button", name="Save").last.click()
    await expect(page.get_by_role("status")).to_have_text("Saved as version 3.")
    await visitor.screenshot("saved")


def picker(visitor: Visitor) -> Locator:
    return visitor.page.locator("#chat-profiles")


async def choose(visitor: Visitor, name: str) -> None:
    await picker(visitor).click()
    await visitor.page.get_by_role("option", name=name).click()
    await expect(picker(visitor)).to_contain_text(name)


async def chat(visitor: Visitor) -> str:
    page = visitor.page
    await log_in(visitor, USER)
    await expect(picker(visitor)).to_contain_text("Chat")
    await choose(visitor, "Travel agent")
    await expect(visitor.answers).to_have_count(1)
    await expect(visitor.answers.first).to_contain_text(PROLOGUE)
    await expect(page.locator("#chat-settings-open-modal")).to_have_count(0)
    await visitor.screenshot("prologue")
    await page.get_by_role("button", name=OPENING).click()
    await expect(visitor.answers.nth(1)).to_contain_text(f"You said: {OPENING}")
    await expect(visitor.questions).to_have_count(1)
    thread_id = await visitor.thread_id()
    await page.get_by_role("button", name=TIP).click()
    await expect(visitor.answers.nth(2)).to_contain_text(f"You said: {TIP}")
    await visitor.answered()
    await visitor.screenshot("answers")
    return thread_id


async def keep_to_its_thread(visitor: Visitor, thread_id: str) -> None:
    """A reloaded thread has its assistant, a new chat the chosen one, and each thread keeps its own."""
    page = visitor.page
    await visitor.open(f"/thread/{thread_id}")
    await expect(visitor.answers).to_have_count(3)
    await expect(picker(visitor)).to_contain_text("Travel agent")
    await expect(page.get_by_role("button", name=TIP)).to_be_visible()
    await expect(page.get_by_role("button", name="Regenerate")).to_have_count(1)
    await expect(visitor.thread(thread_id)).to_contain_text("A journey")
    await visitor.open("/")
    await expect(picker(visitor)).to_be_visible()
    if "Chat" not in await picker(visitor).inner_text():
        await choose(visitor, "Chat")
    await visitor.connected()
    await visitor.ask("Hello")
    await visitor.answered()
    other_id = await visitor.thread_id()
    await visitor.thread(thread_id).locator("a").first.click()
    await expect(visitor.answers).to_have_count(3)
    await expect(picker(visitor)).to_contain_text("Travel agent")
    # The tip comes at the end of the resume; Chainlit does not send what is typed before.
    await expect(page.get_by_role("button", name=TIP)).to_be_visible()
    await visitor.ask("Anything else?")
    await visitor.answered()
    await expect(visitor.answers).to_have_count(4)
    await visitor.thread(other_id).locator("a").first.click()
    await expect(visitor.answers).to_have_count(1)
    await expect(picker(visitor)).to_contain_text("Chat")
    await visitor.connected()


async def delete(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.open("/assistants/travel-agent")
    await expect(page.locator("#numbers tbody tr").first).to_contain_text("All versions")
    await page.get_by_label("Type travel-agent to confirm").fill("travel-agent")
    await page.get_by_role("button", name="Delete this assistant").click()
    await expect(page.get_by_text("There are no assistants yet.")).to_be_visible()


async def go_on_without(visitor: Visitor, thread_id: str) -> None:
    await visitor.open(f"/thread/{thread_id}")
    await expect(visitor.answers.filter(has_text=GONE)).to_have_count(1)
    await visitor.screenshot("gone")
    await visitor.ask("Still there?")
    await expect(visitor.answers.last).to_contain_text("You said: Still there?")


async def look(browser: Browser, server: AppServer, thread_id: str) -> None:
    for dark in (False, True):
        for size in (WIDE, NARROW):
            name = f"assistants-{'dark' if dark else 'light'}-{'wide' if size == WIDE else 'narrow'}"
            locale = "zh-CN" if dark else "en-US"
            async with visit(browser, server.base_url, name, size=size, dark=dark, locale=locale) as visitor:
                await visitor.get_cookie(ADMIN, PASSWORD)
                for path in ("", "/new", "/travel-agent?mode=advanced", "/travel-agent/versions?from=2&to=3"):
                    await visitor.open(f"/assistants{path}")
                    await fits(visitor, path.partition("?")[0].strip("/").replace("/", "-") or "list")
                await visitor.enter(USER, PASSWORD, "/assistants/travel-agent")
                await fits(visitor, "shown")
                await visitor.open(f"/thread/{thread_id}")
                await expect(visitor.answers).to_have_count(4)
                await visitor.screenshot("chat")
                await visitor.header_fits()
                box = await picker(visitor).bounding_box()
                assert box is not None
                assert box["width"] >= 44, "a finger can hit it"


async def fits(visitor: Visitor, name: str) -> None:
    """Nothing but tables scrolls sideways."""
    await visitor.page.wait_for_load_state("networkidle")
    await visitor.screenshot(name)
    assert await visitor.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
