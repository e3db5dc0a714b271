"""The way of an assistant that knows something, in two real browsers and without a key.

An admin makes it, uploads a PDF and trains it. A user asks, opens the citation and votes thumbs down. The admin sees
the answer in the review beside its passages, writes a question and its answer, and trains again. The user asks again.
"""

import pytest
from playwright.async_api import Browser, FilePayload, Locator, expect

from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, Visitor, visit
from tests.unit.test_attachments import pdf

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), IN_THE_BROWSERS_LOOP]

ADMIN, USER, PASSWORD = "ada", "uma", "a long password"
QUESTION = "May I bring my dog into the library?"
VAGUE = "Animals of visitors are a matter of the porter of the library."
BETTER = "Dogs wait at the entrance, where there is water. Guide dogs may come in."
TRAIN_SECONDS = 120


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_bad_answer_is_found_and_mended_with_a_question_and_its_answer(
    browser: Browser, start_server: StartServer
) -> None:
    server = await start_server(OPENAI_API_KEY="", OPENAI_BASE_URL="", OPENAI_MODELS="")
    await server.add_user(ADMIN, PASSWORD, "admin")
    await server.add_user(USER, PASSWORD)
    async with (
        visit(browser, server.base_url, "journey-admin") as admin,
        visit(browser, server.base_url, "journey-user") as user,
    ):
        await make_and_train(admin)
        thread_id = await ask_and_dislike(user)
        await find_the_passages(admin, thread_id)
        await write_the_answer(admin)
        await ask_again(user)


async def log_in(visitor: Visitor, name: str) -> None:
    await visitor.enter(name, PASSWORD)
    await visitor.connected()


async def make_and_train(visitor: Visitor) -> None:
    page = visitor.page
    await log_in(visitor, ADMIN)
    await page.locator('#header a[href="/assistants"]').click()
    await page.get_by_role("link", name="New assistant").click()
    await page.get_by_label("Name", exact=True).fill("Librarian")
    await page.get_by_role("button", name="Create assistant").last.click()
    await page.get_by_role("link", name="Edit its knowledge").click()
    rules = pdf(VAGUE, "The library opens at nine o'clock. On Sundays it is closed.")
    await page.get_by_label("Files").set_input_files(
        FilePayload(name="rules.pdf", mimeType="application/pdf", buffer=rules)
    )
    await page.get_by_role("button", name="Upload").click()
    await expect(page.locator(".sources tbody tr")).to_have_count(1)
    await train(visitor, "1 document, trained")
    await visitor.screenshot("trained")


async def train(visitor: Visitor, state: str) -> None:
    await visitor.page.get_by_role("button", name="Train").click()
    await expect(visitor.page.locator("#training")).to_contain_text(state, timeout=TRAIN_SECONDS * 1000)


async def ask_the_librarian(visitor: Visitor) -> Locator:
    page = visitor.page
    await page.locator("#chat-profiles").click()
    await page.get_by_role("option", name="Librarian").click()
    answer = await visitor.ask(QUESTION)
    await visitor.answered()
    return answer


async def ask_and_dislike(visitor: Visitor) -> str:
    page = visitor.page
    await log_in(visitor, USER)
    answer = await ask_the_librarian(visitor)
    await expect(answer).to_contain_text(VAGUE)
    await visitor.screenshot("answer")
    await answer.locator("a.element-link").first.click()
    await expect(page.locator("#element-view .react-pdf__Page__textContent")).to_contain_text(
        "the porter of the library"
    )
    await visitor.screenshot("citation")
    await page.locator("#element-view button").first.click()
    await visitor.vote(visitor.answers.last, "negative", "And what does the porter say?")
    return await visitor.thread_id()


async def find_the_passages(visitor: Visitor, thread_id: str) -> None:
    page = visitor.page
    await visitor.open("/review")
    row = page.locator("ol.answers > li").first
    await expect(row).to_contain_text("And what does the porter say?")
    await row.locator(f'a[href*="{thread_id}"]').first.click()
    passages = page.locator("details.passages")
    await expect(passages).to_contain_text("rules.pdf · page 1")
    await expect(passages).to_contain_text("cited")
    await visitor.screenshot("review")


async def write_the_answer(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.open("/assistants/librarian/knowledge")
    await page.get_by_role("link", name="Write questions and answers").click()
    await page.get_by_label("Question 1").fill(QUESTION)
    await page.get_by_label("Answer 1").fill(BETTER)
    await page.get_by_role("button", name="Save").last.click()
    await expect(page.get_by_role("status")).to_contain_text("Saved.")
    await visitor.screenshot("question-and-answer")
    await visitor.open("/assistants/librarian/knowledge")
    await train(visitor, "2 documents, trained")


async def ask_again(visitor: Visitor) -> None:
    await visitor.new_chat()
    answer = await ask_the_librarian(visitor)
    await expect(answer).to_contain_text(BETTER)
    quoted = await answer.inner_text()
    assert VAGUE not in quoted or quoted.index(BETTER) < quoted.index(VAGUE), "the better passage comes first"
    await visitor.screenshot("better")
    await answer.locator("a.element-link").first.click()
    await expect(visitor.page.locator("#element-view")).to_contain_text("Guide dogs may come in.")
