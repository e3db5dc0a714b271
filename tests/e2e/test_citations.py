"""Citations in a real browser: a text and a page of a PDF are opened, also when their documents are deleted."""

import pytest
from playwright.async_api import Browser, Locator, expect

from datalayer import AssistantSettings
from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, NARROW, WIDE, Visitor, visit
from tests.support.knowledge import EMBEDDING, train_files
from tests.support.model_server import ModelServer
from tests.unit.test_attachments import pdf

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), IN_THE_BROWSERS_LOOP]

USER, REVIEWER, PASSWORD = "uma", "rita", "a long password"
# Without a comma, which separates the models in the settings.
ANSWER = "The harbour opens at six [1] and boats need a pilot [2]. But `a[1]` is code and [9] is text."
HARBOUR = "The harbour opens at six in the morning. A boat that needs a pilot costs $20, a larger one $30."
FILES: dict[str, str | bytes] = {
    "harbour.txt": HARBOUR,
    "pilots.pdf": pdf("Boats over twelve metres need a pilot at the harbour."),
}
QUESTION = "When does the harbour open at six in the morning?"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_citation_opens_after_its_document_is_deleted(
    browser: Browser, start_server: StartServer, model_server: ModelServer
) -> None:
    server = await start_server(OPENAI_MODELS=f"say:{ANSWER}", OPENAI_TITLE_MODEL="say:Harbour", **EMBEDDING)
    await server.add_user(USER, PASSWORD)
    await server.add_user(REVIEWER, PASSWORD, "reviewer")
    async with server.layer() as layer:
        settings = AssistantSettings("Harbour master", score_threshold=0.0)
        assistant = await layer.create_assistant(settings)
        assert (await train_files(layer, assistant.slug, FILES, model_server)).state == "success"
    async with visit(browser, server.base_url, "citations") as visitor:
        await visitor.enter(USER, PASSWORD)
        await visitor.connected()
        await visitor.page.locator("#chat-profiles").click()
        await visitor.page.get_by_role("option", name="Harbour master").click()
        await visitor.ask(QUESTION)
        await visitor.answered()
        thread_id = await visitor.thread_id()
        await opens_both(visitor, "asked")
        await expect(visitor.page.locator("#chat-input")).to_be_visible()
        assert await visitor.thread_id() == thread_id, "the arrow leads back to the thread"
        async with server.layer() as layer:
            await layer.delete_knowledge(assistant.slug)
        await visitor.page.reload()
        await opens_both(visitor, "deleted")
        # As from a bookmark: there is nothing to go back to.
        await link(visitor, 1).click()
        await expect(visitor.page.locator("#element-view")).to_contain_text("The harbour opens")
        await visitor.open(visitor.page.url.removeprefix(server.base_url))
        await visitor.page.locator("#element-view button").first.click()
        await expect(visitor.answers).to_have_count(1)
        assert await visitor.thread_id() == thread_id
    for dark, size in ((True, NARROW), (False, NARROW), (True, WIDE)):
        name = f"citations-{'dark' if dark else 'light'}-{'narrow' if size == NARROW else 'wide'}"
        async with visit(browser, server.base_url, name, dark=dark, size=size) as visitor:
            await visitor.enter(USER, PASSWORD, f"/thread/{thread_id}")
            await opens_both(visitor, "resumed")
    async with visit(browser, server.base_url, "citations-review") as visitor:
        await visitor.enter(REVIEWER, PASSWORD, f"/review/threads/{thread_id}")
        passages = visitor.page.locator("details.passages")
        await expect(passages).to_contain_text("pilots.pdf · page 1")
        await expect(passages).to_contain_text("cited")
        await visitor.screenshot("passages")


def link(visitor: Visitor, number: int) -> Locator:
    return visitor.answers.first.locator("a.element-link").nth(number - 1)


async def opens_both(visitor: Visitor, name: str) -> None:
    page, answer = visitor.page, visitor.answers.first
    await expect(answer.locator("a.element-link")).to_have_count(2)
    await expect(answer).to_contain_text("a[1] is code and [9] is text")
    # Nothing opens by itself, and nothing lies over the answer.
    await expect(page.locator("#side-view-content")).to_have_count(0)
    await link(visitor, 2).click(trial=True)
    await visitor.screenshot(name)
    await link(visitor, 1).click()
    await expect(page.locator("#element-view")).to_contain_text("costs $20, a larger one $30")
    await expect(page.get_by_text("[1] harbour.txt", exact=True)).to_be_visible()
    await visitor.screenshot(f"{name}-text")
    await page.locator("#element-view button").first.click()
    await expect(answer).to_be_visible()
    await link(visitor, 2).click()
    await expect(page.locator("#element-view .react-pdf__Page__textContent")).to_contain_text("need a pilot")
    await expect(page.get_by_text("[2] pilots.pdf, page 1", exact=True)).to_be_visible()
    await visitor.screenshot(f"{name}-pdf")
    await page.locator("#element-view button").first.click()
    await expect(answer).to_be_visible()
