"""The thought of a model through the chat: a folded step of its own, stored, and never part of the conversation."""

import json
from typing import Any

import httpx
import pytest

from tests.support.chat_client import ChatClient
from tests.support.patience import until
from tests.support.plain_http import PLAIN_HTTP
from tests.support.shared_server import PASSWORD, Chat

pytestmark = pytest.mark.slow

SHAPES = "think:think,think:closing,think:reasoning_content,think:mistral,think:reasoning:0.5,think-limit:unclosed"
# A server of its own, because the title model of the other modules does not think.
SETTINGS = {
    "OPENAI_MODELS": f"{SHAPES},think-only:reasoning,context-echo,echo",
    "OPENAI_TITLE_MODEL": "think-limit:unclosed",
}


@pytest.fixture
async def chat(chat: Chat) -> Chat:
    await chat.add_user("alice")
    await chat.add_user("bob")
    return chat


def use(model: str) -> dict[str, str]:
    return {"model": model}


async def stored(client: ChatClient) -> list[dict[str, Any]]:
    answer = await client.http.get(f"/project/thread/{client.thread_id}")
    return list(answer.raise_for_status().json()["steps"])


async def visible(client: ChatClient) -> list[dict[str, Any]]:
    return [step for step in await stored(client) if step["type"] != "run"]


def said(steps: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The steps that a user sees, in order."""
    return [(step["type"], step["output"]) for step in steps if step["type"] != "run"]


@pytest.mark.parametrize("model", ["think:think", "think:closing", "think:reasoning_content", "think:mistral"])
async def test_a_thought_is_a_folded_step_and_not_sent_back(chat: Chat, model: str) -> None:
    async with chat.client("alice") as client:
        assert await client.ask("what is green", modes=use(model)) == "You said: what is green"
        shown = [step for step in client.steps.values() if step["type"] == "tool"]
        assert [(step["output"].strip(), step["defaultOpen"]) for step in shown] == [("Pondering what is green", False)]
        assert shown[0]["name"].startswith("Thought for ")
        assert [one["type"] for one in client.steps.values() if one["type"] != "run"] == [
            "tool",
            "assistant_message",
        ]
        assert said(await stored(client)) == [
            ("user_message", "what is green"),
            ("llm", "Pondering what is green"),
            ("assistant_message", "You said: what is green"),
        ]
        sent = json.loads(await client.ask("and now?", modes=use("context-echo")))
        assert [(one["role"], one["content"]) for one in sent[1:]] == [
            ("user", "what is green"),
            ("assistant", "You said: what is green"),
            ("user", "and now?"),
        ]
        thread_id = client.thread_id
    async with chat.client("alice", thread_id=thread_id, language="zh-CN") as resumed:
        steps = [step for step in resumed.steps.values() if step["type"] != "run"]
        assert [step["type"] for step in steps][:3] == ["user_message", "tool", "assistant_message"]
        assert steps[1]["name"].startswith("思考了 ")
        assert steps[1]["parentId"] == steps[2]["parentId"]


async def test_only_an_answer_with_thought_has_a_thought_step(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.ask("one", modes=use("think:reasoning_content"))
        await client.ask("two", modes=use("echo"))
        thoughts = [step for step in await stored(client) if step["type"] == "llm"]
        assert [step["output"] for step in thoughts] == ["Pondering one"]
        (thought,) = thoughts
        assert (thought["name"], thought["streaming"]) == ("Thought", False)
        assert thought["metadata"]["status"] == "thought"
        assert thought["metadata"]["seconds"] >= 0
        assert thought["createdAt"] <= thought["end"]


async def test_a_thread_is_named_by_the_answer_and_found_by_it_alone(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.ask("what is green", modes=use("think:think"))
        # The title model is cut inside its thought.
        await until(lambda: "used its tokens up in thought" in chat.log)
        filters = {"userId": client.http.base_url and "", "search": "pondering"}

        async def found(words: str) -> list[str]:
            body = {"pagination": {"first": 10}, "filter": {**filters, "search": words}}
            answer = await client.http.post("/project/threads", json=body)
            return [one["name"] for one in answer.raise_for_status().json()["data"]]

        assert await found("green") == ["what is green"]
        assert await found("pondering") == []


@pytest.mark.parametrize(
    ("model", "words"),
    [("think-limit:unclosed", "Maximum answer length, in tokens"), ("think-only:reasoning", "without an answer")],
)
async def test_an_answer_that_is_only_thought_says_so(chat: Chat, model: str, words: str) -> None:
    async with chat.client("alice") as client:
        assert words in await client.ask("what is green", modes=use(model))
        assert client.button("try_again") is not None
        steps = await stored(client)
        assert [kind for kind, _ in said(steps)] == ["user_message", "llm", "assistant_message"]
        assert said(steps)[1] == ("llm", "Pondering what is green")
        assert steps[-1]["isError"]


async def test_stop_within_a_thought_keeps_it(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.send("one two three four five six seven", modes=use("think:reasoning:0.5"))
        await client.until(
            lambda: any("one" in step["output"] for step in client.steps.values() if step["type"] == "tool")
        )
        seen = len(client.events)
        await client.emit("stop")
        await client.until(lambda: any(name == "task_end" for name, _ in client.events[seen:]))
        question, thought, notice = await visible(client)
        assert (question["type"], thought["type"], thought["streaming"]) == ("user_message", "llm", False)
        assert thought["output"].startswith("Pondering one")
        assert "seven" not in thought["output"]
        assert notice["metadata"]["status"] != "complete", "no answer"


async def test_a_second_page_sees_the_thought_in_progress(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.send("one two three four", modes=use("think:reasoning:0.5"))
        await client.until(lambda: any(step["type"] == "tool" for step in client.steps.values()))
        await client.until(lambda: client.thread_id)
        async with chat.client("alice", thread_id=client.thread_id) as second:
            await second.until(lambda: second.answer == "You said: one two three four")
            (thought,) = [step for step in second.steps.values() if step["type"] == "tool"]
            assert thought["output"].strip() == "Pondering one two three four"
            assert thought["name"].startswith("Thought for ")


async def test_an_edit_removes_the_thought(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.ask("one", modes=use("think:think"))
        question = next(step for step in await stored(client) if step["type"] == "user_message")
        seen = len(client.events)
        await client.emit("edit_message", {"message": {**question, "output": "two", "modes": use("think:think")}})
        await client.until(lambda: any(name == "task_end" for name, _ in client.events[seen:]))
        assert [text for _, text in said(await stored(client))] == ["two", "Pondering two", "You said: two"]
        assert [step["output"].strip() for step in client.steps.values() if step["type"] == "tool"] == ["Pondering two"]


async def test_a_shared_thread_shows_thoughts_folded(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.ask("what is green", modes=use("think:think"))
        body = {"threadId": client.thread_id, "isShared": True}
        (await client.http.put("/project/thread/share", json=body)).raise_for_status()
        thread_id = client.thread_id
    async with httpx.AsyncClient(base_url=chat.base_url, **PLAIN_HTTP) as bob:
        (await bob.post("/login", data={"username": chat.name("bob"), "password": PASSWORD})).raise_for_status()
        shared = (await bob.get(f"/project/share/{thread_id}")).raise_for_status().json()
    steps = [step for step in shared["steps"] if step["type"] != "run"]
    assert [step["type"] for step in steps] == ["user_message", "tool", "assistant_message"]
    assert steps[1]["name"].startswith("Thought for ")
    assert not steps[1]["defaultOpen"]


async def test_an_old_answer_with_tags_is_shown_as_two_steps(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.ask("one", modes=use("echo"))
        answer = next(step for step in await stored(client) if step["type"] == "assistant_message")
        async with chat.layer() as layer:
            await layer.update_step({**answer, "output": "<think>\nHm.\n</think>\n\nOne."})
        thread_id = client.thread_id
    async with chat.client("alice", thread_id=thread_id) as resumed:
        shown = [(step["type"], step["output"]) for step in resumed.steps.values() if step["type"] != "run"]
        assert shown == [("user_message", "one"), ("tool", "Hm."), ("assistant_message", "One.")]
        sent = json.loads(await resumed.ask("and now?", modes=use("context-echo")))
        assert [one["content"] for one in sent[1:]] == ["one", "One.", "and now?"]
