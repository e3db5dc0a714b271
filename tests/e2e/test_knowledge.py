"""The knowledge of an assistant in a real browser: files, questions and answers, a table, and a training.

With screenshots of both themes, wide and narrow.
"""

import re

import pytest
from playwright.async_api import Browser, FilePayload, expect

from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, WIDE, Visitor, visit
from tests.support.server import AppServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), IN_THE_BROWSERS_LOOP]

ADMIN, PASSWORD = "ada", "a long password"
HERE = "/assistants/library/knowledge"
HANDBOOK = "# Opening hours\n\nThe library opens at nine o'clock. On Sundays it is closed.\n"
LONG_TITLE = "Hours" * 12
CITIES = "city,country,question\nRome,Italy,What is in Italy?\n北京,中国,\n"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_an_assistant_knows_is_added_trained_and_shown(browser: Browser, start_server: StartServer) -> None:
    server = await start_server()
    await server.add_user(ADMIN, PASSWORD, "admin")
    async with visit(browser, server.base_url, "knowledge") as admin:
        await begin(admin)
        await add(admin)
        document = await train(admin)
        await look(browser, server, document)


async def begin(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.enter(ADMIN, PASSWORD, "/assistants/new")
    await page.get_by_label("Name", exact=True).fill("Library")
    await page.get_by_role("button", name="Create assistant").last.click()
    await page.get_by_role("link", name="Edit its knowledge").click()
    await expect(page.locator("#training")).to_contain_text("No sources yet.")


async def add(visitor: Visitor) -> None:
    """Two files of which one is refused, questions and answers with the keyboard, and a table."""
    page = visitor.page
    picture = FilePayload(name="picture.png", mimeType="image/png", buffer=b"\x89PNG\r\n\x1a\n" + bytes(64))
    handbook = FilePayload(name="handbook.md", mimeType="text/markdown", buffer=HANDBOOK.encode())
    await page.get_by_label("Files").set_input_files([handbook, picture])
    with visitor.watch.expecting("400"):
        await page.get_by_role("button", name="Upload").click()
        await expect(page.get_by_role("alert")).to_contain_text("“picture.png” cannot be read.")
    await expect(page.locator(".sources tbody tr")).to_have_count(1)
    await page.get_by_role("link", name="Write questions and answers").click()
    await page.get_by_label("Question 1").press_sequentially("May I bring my dog?")
    await page.keyboard.press("Tab")
    await page.keyboard.type("Dogs wait outside.")
    await page.keyboard.press("Tab")
    await page.keyboard.type("Who is the librarian?")
    with visitor.watch.expecting("400"):
        await page.get_by_role("button", name="Save").last.click()
        await expect(page.get_by_role("alert")).to_contain_text("Nothing was saved.")
    await visitor.screenshot("pairs-incomplete")
    await page.get_by_label("Answer 2").fill("Grace Hopper.")
    await page.get_by_role("button", name="Save").last.click()
    await expect(page.get_by_role("status")).to_contain_text("Saved.")
    await visitor.open(HERE)
    await page.get_by_label("Table").check()
    cities = FilePayload(name="cities.csv", mimeType="text/csv", buffer=CITIES.encode())
    await page.get_by_label("Files").set_input_files(cities)
    await page.get_by_role("button", name="Upload").click()
    await page.get_by_label("question", exact=True).uncheck()
    await page.get_by_label("Name of a row").select_option("city")
    await page.get_by_label("Suggested question").select_option("question")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("status")).to_have_text("The columns are stored.")


async def train(visitor: Visitor) -> str:
    """Train, and open a document; returns its path. Nobody reloads the page."""
    page = visitor.page
    await visitor.open(HERE)
    await page.get_by_role("button", name="Train").click()
    await expect(page.locator("#training")).to_contain_text("5 documents, trained", timeout=60_000)
    await expect(page.locator("#training progress")).to_have_count(0)
    await expect(page.locator("#sources")).not_to_contain_text("Not trained yet")
    await page.get_by_text("All trainings").click()
    await page.get_by_role("link", name="Training 1").click()
    await page.get_by_role("link", name="Opening hours").click()
    await expect(page.locator(".passages-of")).to_contain_text("The library opens at nine o'clock.")
    path = page.url.partition(HERE)[2]
    await visitor.open(HERE)
    await page.get_by_role("link", name="handbook.md").click()
    await page.get_by_label("Title").fill(LONG_TITLE)
    await page.get_by_role("button", name="Rename").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"{LONG_TITLE}.md")
    return path


async def look(browser: Browser, server: AppServer, document: str) -> None:
    for dark in (False, True):
        for size in (WIDE, NARROW):
            name = f"knowledge-{'dark' if dark else 'light'}-{'wide' if size == WIDE else 'narrow'}"
            locale = "zh-CN" if dark else "en-US"
            async with visit(browser, server.base_url, name, size=size, dark=dark, locale=locale) as visitor:
                await visitor.get_cookie(ADMIN, PASSWORD)
                await visitor.open("/assistants")
                await fits(visitor, "list")
                await visitor.open("/assistants/library")
                await fits(visitor, "assistant")
                await visitor.open(HERE)
                await visitor.page.locator("#training details").evaluate("one => one.open = true")
                await fits(visitor, "overview")
                sources = visitor.page.locator(".sources a")
                paths = [await sources.nth(number).get_attribute("href") or "" for number in range(3)]
                for number, path in enumerate(paths):
                    await visitor.open(path)
                    await visitor.page.locator("#delete details").evaluate("one => one.open = true")
                    await fits(visitor, f"source-{number}")
                await visitor.open(f"{paths[1]}/pairs")
                await fits(visitor, "pairs")
                await visitor.open(f"{paths[0]}/columns")
                await fits(visitor, "columns")
                await visitor.open(HERE + re.sub(r"/documents/.*", "", document))
                await fits(visitor, "training")
                await visitor.open(HERE + document)
                await fits(visitor, "document")


async def fits(visitor: Visitor, name: str) -> None:
    """Nothing but tables scrolls sideways."""
    await visitor.page.wait_for_load_state("networkidle")
    await visitor.screenshot(name)
    assert await visitor.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
