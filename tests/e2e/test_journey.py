"""One user's way through the whole chat, in a real browser, on Postgres. No message, file or vote is lost.

The journeys of the other modules are on SQLite.
"""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import StartServer
from tests.support.browser import IN_THE_BROWSERS_LOOP, SERVER_ENDED, Visitor, visit
from tests.support.chat_client import ChatClient
from tests.support.model_server import ModelServer
from tests.support.sample_files import archive, pdf, picture, text_file, word_file
from tests.support.server import AppServer
from threadkeeper.chat.wording import say

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), IN_THE_BROWSERS_LOOP]

NAME, PASSWORD = "ann", "a long password"
OTHER_NAME = "bob"
# Few tokens a second, as in `test_chinese`.
SLOW, FAILS_ONCE = "slow:1000:0.2", "500:1"
TITLE = "Rivers of the world"


@dataclass
class Journey:
    visitor: Visitor
    server: AppServer
    model_server: ModelServer

    @property
    def last_request(self) -> dict[str, Any]:
        """The last request to the model that was not for a title."""
        return next(one.body for one in reversed(self.model_server.requests) if one.body.get("stream"))

    async def thread(self, thread_id: str) -> dict[str, Any]:
        async with self.server.layer() as layer:
            thread: dict[str, Any] | None = await layer.get_thread(thread_id)
        assert thread is not None
        return thread

    async def messages(self, thread_id: str) -> list[tuple[str, str]]:
        """The stored questions and answers."""
        steps = (await self.thread(thread_id))["steps"]
        return [(step["type"], step["output"]) for step in steps if step["type"].endswith("_message")]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_user_asks_reloads_and_finds_the_thread(
    browser: Browser, start_server: StartServer, model_server: ModelServer
) -> None:
    server = await start_server(
        OPENAI_MODELS=f"echo,context-echo,{SLOW},{FAILS_ONCE}", OPENAI_TITLE_MODEL=f"say:{TITLE}"
    )
    await server.add_user(NAME, PASSWORD)
    await server.add_user(OTHER_NAME, PASSWORD)
    async with visit(browser, server.base_url, "journey") as visitor:
        journey = Journey(visitor, server, model_server)
        await log_in(journey)
        first = await ask_and_vote(journey)
        await reopen(journey, first)
        await change_the_settings(journey)
        await attach_files(journey, first)
        await attach_a_refused_file(journey)
        await edit_a_question(journey, first)
        second = await stop_an_answer(journey)
        third = await retry_after_an_error(journey)
        await search(journey, second)
        await keep_a_favorite(journey, second)
        await share(journey, first, browser)
        await rename(journey, second)
        await delete(journey, third)
        await restart(journey, first, second)
        await keep_others_out(journey, first, second, browser)
        await count(journey, first, second)


async def log_in(journey: Journey) -> None:
    visitor = journey.visitor
    await visitor.arrive()
    await visitor.screenshot("login")
    with visitor.watch.expecting("401", "Unauthorized"):
        await visitor.log_in(NAME, "a wrong password")
        await expect(visitor.page.get_by_text("Check your user name and password")).to_be_visible()
    await visitor.screenshot("login-refused")
    await visitor.log_in(NAME, PASSWORD)
    await expect(visitor.page.get_by_text("Explain something")).to_be_visible()
    await visitor.connected()
    await visitor.screenshot("welcome")


async def ask_and_vote(journey: Journey) -> str:
    visitor = journey.visitor
    answer = await visitor.ask("Which river is the longest?")
    await expect(answer).to_contain_text("You said: Which river is the longest?")
    await visitor.answered()
    thread_id = await visitor.thread_id()
    await expect(visitor.thread(thread_id)).to_contain_text(TITLE)
    await visitor.vote(answer, "positive", "Just what I asked.")
    await visitor.screenshot("answer")
    assert (await journey.thread(thread_id))["name"] == TITLE
    return thread_id


async def reopen(journey: Journey, thread_id: str) -> None:
    visitor = journey.visitor
    await visitor.open()
    await visitor.thread(thread_id).click()
    await expect(visitor.questions).to_have_count(1)
    await expect(visitor.answers.first).to_contain_text("You said: Which river is the longest?")
    await expect(visitor.answers.first.locator(".positive-feedback-on")).to_be_visible()
    answer = await visitor.ask("And the second longest?", model="context-echo")
    await expect(answer).to_contain_text("And the second longest?")
    await visitor.answered()
    context = [(one["role"], one["content"]) for one in journey.last_request["messages"]]
    assert context[0][0] == "system"
    assert context[1:] == [
        ("user", "Which river is the longest?"),
        ("assistant", "You said: Which river is the longest?"),
        ("user", "And the second longest?"),
    ]


async def change_the_settings(journey: Journey) -> None:
    visitor = journey.visitor
    await visitor.page.locator("#chat-settings-open-modal").click()
    await visitor.page.locator("#system_prompt").fill("Answer like a captain.")
    await visitor.page.locator("#temperature [role=slider]").press("Home")
    await visitor.page.locator("#max_tokens").fill("500")
    await visitor.screenshot("settings")
    await visitor.page.locator("#chat-settings #confirm").click()
    await expect(visitor.dialog).to_have_count(0)
    await visitor.ask("With the new settings?", model="echo")
    await visitor.answered()
    request = journey.last_request
    assert request["model"] == "echo"
    assert request["messages"][0] == {"role": "system", "content": "Answer like a captain."}
    assert request["temperature"] == 0
    assert 500 in (request.get("max_tokens"), request.get("max_completion_tokens"))


async def attach_files(journey: Journey, thread_id: str) -> None:
    visitor = journey.visitor
    await visitor.attach(
        picture("map.png"),
        text_file("notes.txt", "The Nile flows north."),
        pdf("report.pdf", "The Amazon flows east."),
        word_file("plan.docx", "The Danube flows east, too."),
    )
    await expect(visitor.page.locator("#attachments")).to_contain_text("report.pdf")
    answer = await visitor.ask("What is in these?")
    await expect(answer).to_contain_text("You said:")
    await visitor.answered()
    content = journey.last_request["messages"][-1]["content"]
    texts = " ".join(part["text"] for part in content if part["type"] == "text")
    assert "What is in these?" in texts
    assert "The Nile flows north." in texts
    assert "The Amazon flows east." in texts
    assert "The Danube flows east, too." in texts
    assert [part["image_url"]["url"][:22] for part in content if part["type"] == "image_url"] == [
        "data:image/png;base64,"
    ]
    await visitor.open(f"/thread/{thread_id}")
    question = visitor.questions.filter(has_text="What is in these?")
    await expect(question).to_contain_text("notes.txt")
    await expect(question).to_contain_text("report.pdf")
    await expect(question.locator("img[alt='map.png'], img[src*='map.png']")).to_have_js_property("naturalWidth", 64)
    await expect(question).not_to_contain_text("Loading preview")
    await visitor.screenshot("attachments")
    elements = (await journey.thread(thread_id))["elements"]
    assert sorted(element["name"] for element in elements) == ["map.png", "notes.txt", "plan.docx", "report.pdf"]
    async with ChatClient(journey.server.base_url, OTHER_NAME, PASSWORD) as other:
        for element in elements:
            assert (await visitor.page.request.get(f"{journey.server.base_url}{element['url']}")).status == 200
            assert (await other.http.get(element["url"])).status_code == 404


async def attach_a_refused_file(journey: Journey) -> None:
    visitor = journey.visitor
    # The server refuses the upload and says why.
    with visitor.watch.expecting("status of 400"):
        await visitor.attach(archive("everything.zip"))
        await expect(visitor.toast).to_contain_text("“everything.zip” cannot be read")
    assert len(await visitor.toast.inner_text()) < 300
    await visitor.screenshot("file-refused")
    await expect(visitor.page.locator("#attachments")).to_have_count(0)


async def edit_a_question(journey: Journey, thread_id: str) -> None:
    visitor = journey.visitor
    assert len(await journey.messages(thread_id)) == 8
    await visitor.edit(visitor.questions.nth(1), "And the third longest?")
    await expect(visitor.answers).to_have_count(2)
    await expect(visitor.answers.nth(1)).to_contain_text("And the third longest?")
    await visitor.answered()
    await expect(visitor.questions).to_have_count(2)
    stored = await journey.messages(thread_id)
    assert [text for kind, text in stored if kind == "user_message"] == [
        "Which river is the longest?",
        "And the third longest?",
    ]
    assert len(stored) == 4
    thread = await journey.thread(thread_id)
    assert thread["elements"] == []
    assert len([step for step in thread["steps"] if step["type"] == "run" and step["name"] == "on_message"]) == 2
    await visitor.screenshot("edited")


async def stop_an_answer(journey: Journey) -> str:
    visitor = journey.visitor
    await visitor.new_chat()
    answer = await visitor.ask("Count the fish of the Mekong", model=SLOW)
    await expect(answer).to_contain_text("word-30 ")
    await visitor.page.locator("#stop-button").click()
    await expect(answer).to_contain_text(say("mark_stopped", "en"))
    await visitor.answered()
    await expect(visitor.answers).to_have_count(1)
    await visitor.screenshot("stopped")
    thread_id = await visitor.thread_id()
    _, (kind, text) = await journey.messages(thread_id)
    assert kind == "assistant_message"
    assert text.startswith("word-1 word-2 ")
    assert "word-29 word-30" in text
    assert "word-1000" not in text
    assert text.endswith(f"*{say('mark_stopped', 'en')}*")
    return thread_id


async def retry_after_an_error(journey: Journey) -> str:
    visitor = journey.visitor
    await visitor.new_chat()
    await visitor.ask("Does it work?", model=FAILS_ONCE)
    await expect(visitor.answers).to_contain_text(say("error_server", "en"))
    await visitor.answered()
    await visitor.screenshot("model-error")
    await visitor.page.get_by_role("button", name=say("try_again", "en")).click()
    await expect(visitor.answers).to_contain_text("You said: Does it work?")
    await visitor.answered()
    await expect(visitor.answers).to_have_count(1)
    thread_id = await visitor.thread_id()
    assert await journey.messages(thread_id) == [
        ("user_message", "Does it work?"),
        ("assistant_message", "You said: Does it work?"),
    ]
    return thread_id


async def search(journey: Journey, thread_id: str) -> None:
    visitor = journey.visitor
    found = await visitor.search("fish of the mekong")
    await expect(found).to_have_count(1)
    await visitor.screenshot("search")
    await found.click()
    await expect(visitor.questions).to_contain_text("Count the fish of the Mekong")
    assert await visitor.thread_id() == thread_id


async def keep_a_favorite(journey: Journey, thread_id: str) -> None:
    visitor = journey.visitor
    await visitor.favorite(visitor.questions.first)
    await expect(visitor.questions.first.locator(".lucide-star.fill-current")).to_be_visible()
    await visitor.open(f"/thread/{thread_id}")
    await expect(visitor.questions.first.locator(".lucide-star.fill-current")).to_be_visible()
    await visitor.page.locator("#message-composer button:has(.lucide-star)").click()
    await expect(visitor.dialog).to_contain_text("Count the fish of the Mekong")
    await visitor.screenshot("favorites")
    await visitor.page.keyboard.press("Escape")


async def share(journey: Journey, thread_id: str, browser: Browser) -> None:
    """Other users can read the thread only once it is shared, and cannot write in it."""
    visitor, base_url = journey.visitor, journey.server.base_url
    async with visit(browser, base_url, "before-sharing") as stranger:
        await stranger.enter(OTHER_NAME, PASSWORD)
        await stranger.connected()
        with stranger.watch.expecting("404", "not found"):
            async with stranger.page.expect_response(f"**/project/share/{thread_id}") as response:
                await stranger.open(f"/share/{thread_id}")
            assert (await response.value).status == 404
            await stranger.screenshot("not-shared")
            await expect(stranger.questions).to_have_count(0)

    await visitor.choose(thread_id, "share")
    await visitor.screenshot("share")
    await visitor.dialog.get_by_role("button", name="Copy the link").click()
    await expect(visitor.toast.first).to_contain_text("Link created")
    link = str(await visitor.page.evaluate("navigator.clipboard.readText()"))
    await visitor.page.keyboard.press("Escape")
    assert link == f"{base_url}/share/{thread_id}"

    async with visit(browser, base_url, "shared") as reader:
        await reader.arrive(f"/share/{thread_id}")
        await reader.log_in(OTHER_NAME, PASSWORD)
        await expect(reader.page).to_have_url(f"{base_url}/share/{thread_id}")
        await expect(reader.questions).to_have_count(2)
        await expect(reader.questions.nth(1)).to_contain_text("And the third longest?")
        await reader.screenshot("read-only")
        await expect(reader.page.locator("#chat-input")).to_have_count(0)
        await expect(reader.page.locator(".edit-message")).to_have_count(0)


async def rename(journey: Journey, thread_id: str) -> None:
    visitor = journey.visitor
    await visitor.choose(thread_id, "rename")
    await visitor.dialog.locator("#name").fill("Mekong \N{FISH}")
    await visitor.dialog.get_by_role("button", name="Rename").click()
    await expect(visitor.thread(thread_id)).to_contain_text("Mekong \N{FISH}")
    assert (await journey.thread(thread_id))["name"] == "Mekong \N{FISH}"


async def delete(journey: Journey, thread_id: str) -> None:
    visitor = journey.visitor
    await expect(visitor.threads).to_have_count(3)
    await visitor.choose(thread_id, "delete")
    await visitor.screenshot("delete")
    await visitor.dialog.get_by_role("button", name="Delete").click()
    await expect(visitor.thread(thread_id)).to_have_count(0)
    async with journey.server.layer() as layer:
        assert await layer.get_thread(thread_id) is None


async def restart(journey: Journey, first: str, second: str) -> None:
    visitor = journey.visitor
    with visitor.watch.expecting(*SERVER_ENDED):
        await journey.server.restart()
        await visitor.open()
        await expect(visitor.threads).to_have_count(2)
    await expect(visitor.thread(second)).to_contain_text("Mekong \N{FISH}")
    await visitor.thread(first).click()
    await expect(visitor.questions).to_have_text(["Which river is the longest?", "And the third longest?"])
    await expect(visitor.answers.first.locator(".positive-feedback-on")).to_be_visible()
    await visitor.thread(second).click()
    await expect(visitor.answers).to_contain_text(say("mark_stopped", "en"))
    await visitor.screenshot("after-restart")


async def keep_others_out(journey: Journey, thread_id: str, private_id: str, browser: Browser) -> None:
    """Others see nothing of a private thread, and of a shared one the read-only view."""
    base_url = journey.server.base_url
    async with visit(browser, base_url, "someone-else") as other:
        await other.enter(OTHER_NAME, PASSWORD)
        await other.connected()
        await expect(other.threads).to_have_count(0)
        answer = await other.page.request.get(f"{base_url}/project/thread/{thread_id}")
        assert answer.status in (401, 403, 404)
        with other.watch.expecting("40[134]", "Unauthorized", "Forbidden", "not found"):
            await other.open(f"/thread/{private_id}")
            await expect(other.toast.first).to_be_visible()
            await other.screenshot("thread-of-someone-else")
            await expect(other.questions).to_have_count(0)
            await other.connected()
        await other.open(f"/thread/{thread_id}")
        await expect(other.page).to_have_url(f"{base_url}/share/{thread_id}")
        await expect(other.page.locator("#chat-input")).to_have_count(0)
    votes = [step["feedback"] for step in (await journey.thread(thread_id))["steps"] if step.get("feedback")]
    async with ChatClient(base_url, OTHER_NAME, PASSWORD) as client:
        mine = {"id": votes[0]["id"], "forId": votes[0]["forId"], "value": 0, "comment": "Not so."}
        assert (await client.http.put("/feedback", json={"feedback": mine, "sessionId": ""})).is_error
        await client.http.request("DELETE", "/feedback", json={"feedbackId": votes[0]["id"]})


async def count(journey: Journey, first: str, second: str) -> None:
    """Every question, answer and vote is stored once."""
    kinds = [Counter(kind for kind, _ in await journey.messages(thread_id)) for thread_id in (first, second)]
    assert kinds == [
        {"user_message": 2, "assistant_message": 2},
        {"user_message": 1, "assistant_message": 1},
    ]
    steps = (await journey.thread(first))["steps"]
    votes = [step["feedback"] for step in steps if step.get("feedback")]
    assert [(vote["value"], vote["comment"]) for vote in votes] == [(1, "Just what I asked.")]
    metadata = (await journey.thread(first))["metadata"]
    assert metadata["is_shared"] is True
    assert json.loads(json.dumps(metadata["chat_settings"]))["system_prompt"] == "Answer like a captain."
