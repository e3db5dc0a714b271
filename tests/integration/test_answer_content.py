"""What an answer has beside its text: pictures are shown and kept with the thread, the rest is told in words."""

import json
from typing import Any

import pytest

from tests.integration.test_offers import press
from tests.support.chat_client import ChatClient
from tests.support.odd_streams import PNG
from tests.support.shared_server import Chat

pytestmark = pytest.mark.slow

PICTURE, CALLS = "others:images", "others:tool_calls"
MODELS = (PICTURE, f"{PICTURE}:alone", CALLS, f"{CALLS}:alone", "context-echo")
SETTINGS = {"OPENAI_MODELS": ",".join(MODELS), "OPENAI_TITLE_MODEL": "say:A title"}
ALONE = "*The model answered with an image.*"


@pytest.fixture
async def chat(chat: Chat) -> Chat:
    await chat.add_user("alice")
    return chat


def use(model: str) -> dict[str, str]:
    return {"model": model}


async def thread_of(client: ChatClient) -> dict[str, Any]:
    return dict((await client.http.get(f"/project/thread/{client.thread_id}")).raise_for_status().json())


def elements(client: ChatClient) -> list[dict[str, Any]]:
    return [data for name, data in client.events if name == "element"]


async def test_a_picture_of_an_answer_is_shown_and_kept_with_its_version(chat: Chat) -> None:
    async with chat.client("alice") as client:
        assert await client.ask("draw a cat", modes=use(PICTURE)) == "You said: draw a cat"
        (sent,) = elements(client)
        assert (sent["type"], sent["display"], sent["name"]) == ("image", "inline", "Image 1.png")
        assert sent["forId"] == client.answers()[-1]["id"]
        answer = await client.http.get(sent["url"])
        assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")
        # The picture stays with its version of the answer.
        await press(client, "regenerate")
        assert len(elements(client)) == 2
        await press(client, "show_version")
        thread = await thread_of(client)
        assert sent["forId"] in {step["id"] for step in thread["steps"]}
        thread_id = client.thread_id
    async with chat.client("alice", thread_id=thread_id) as client:
        resumed = await client.event("resume_thread")
        (shown,) = [one for one in resumed["elements"] if one["id"] == sent["id"]]
        assert (await client.http.get(shown["url"])).content == PNG


async def test_an_answer_of_a_picture_alone_is_no_error_and_not_sent_back_as_words(chat: Chat) -> None:
    async with chat.client("alice") as client:
        assert await client.ask("draw a dog", modes=use(f"{PICTURE}:alone")) == ALONE
        (sent,) = elements(client)
        (answer,) = client.answers()
        assert (answer["id"], answer.get("isError")) == (sent["forId"], False)
        assert client.button("regenerate")
        sent_next = json.loads(await client.ask("and in blue?", modes=use("context-echo")))
        assert [one["content"] for one in sent_next[1:]] == ["draw a dog\n\nand in blue?"]
        assert (await thread_of(client))["steps"][-1]["output"]
    async with chat.client("alice", language="zh-CN") as client:
        assert await client.ask("画一只狗", modes=use(f"{PICTURE}:alone")) == "*模型以图片作答。*"
        assert elements(client)[0]["name"] == "图片 1.png"


async def test_content_that_is_not_shown_is_told_and_the_words_are_kept(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.ask("look it up", modes=use(CALLS))
        shown = ["You said: look it up", "The answer also contains a call of a tool, which this chat does not show."]
        assert [one["output"] for one in client.answers()] == shown
        kept = [one["output"] for one in (await thread_of(client))["steps"] if one["type"] == "assistant_message"]
        assert kept == shown
        # The notice is no part of the conversation.
        sent = json.loads(await client.ask("thanks", modes=use("context-echo")))
        assert [one["content"] for one in sent[1:]] == ["look it up", "You said: look it up", "thanks"]


async def test_an_answer_without_words_is_an_error_that_says_what_came(chat: Chat) -> None:
    async with chat.client("alice", language="zh-CN") as client:
        said = await client.ask("查一下", modes=use(f"{CALLS}:alone"))
        assert "只包含工具调用" in said
        assert client.answers()[-1]["isError"]
        assert client.button("try_again")
        assert "You said" not in await client.ask("好吧", modes=use("context-echo"))
