"""Assistants that answer from documents: what the model gets, what is stored, and what happens if nothing is found."""

from typing import Any

import pytest

from datalayer import Assistant, AssistantAccess, AssistantSettings, CallFilter
from tests.support.chat_client import ChatClient
from tests.support.knowledge import EMBEDDING, train_files
from tests.support.model_server import Recorded
from tests.support.shared_server import Chat
from threadkeeper.chat.assistants import CITE

pytestmark = pytest.mark.slow

ANSWER = "say:The harbour opens at six [1]."
REWRITES = "say:When does the harbour open in winter?"
SETTINGS = {
    "OPENAI_MODELS": f"echo,context-echo,{ANSWER}",
    "OPENAI_TITLE_MODEL": REWRITES,
    **EMBEDDING,
}
HARBOUR = "The harbour opens at six in the morning."
WINTER = "In winter the harbour opens at eight."
FILES = {
    "harbour.txt": HARBOUR,
    "winter.txt": WINTER,
    "library.txt": "图书馆周一闭馆。",
    "cats.txt": "Cats sleep all day.",
}


@pytest.fixture
async def chat(chat: Chat) -> Chat:
    await chat.add_user("alice")
    return chat


async def make(chat: Chat, embedding: str = "words", **fields: Any) -> Assistant:
    """An assistant of alice that is trained with the files and this embedding model."""
    async with chat.layer() as layer:
        settings = AssistantSettings(**{"name": f"Harbour {chat.name('x')}", "score_threshold": 0.4, **fields})
        assistant = await layer.create_assistant(settings, access=AssistantAccess("users", users=(chat.name("alice"),)))
        training = await train_files(layer, assistant.slug, FILES, chat.model_server, embedding)
        assert training.state == "success"
    chat.model_server.forget()
    return assistant


async def stored(client: ChatClient) -> list[dict[str, Any]]:
    thread = (await client.http.get(f"/project/thread/{client.thread_id}")).raise_for_status().json()
    return [step for step in thread["steps"] if step["type"].endswith("_message")]


def is_title(request: Recorded) -> bool:
    return "title" in str(request.body.get("messages", "")).partition("conversation")[0]


def models(chat: Chat) -> list[str]:
    """The names of the models that were asked, in order, without those for titles."""
    return [one.model for one in chat.model_server.requests if not is_title(one)]


async def test_the_model_gets_numbered_passages_and_the_answer_knows_them(chat: Chat) -> None:
    assistant = await make(chat, prompt="Answer from this:\n{context}", model=ANSWER)
    async with chat.client("alice", profile=assistant.slug) as client:
        assert await client.ask("When does the harbour open in the morning?") == "The harbour opens at six [1]."
        asked = next(one.body for one in chat.model_server.requests if one.model == ANSWER)
        system = asked["messages"][0]["content"]
        assert system.startswith(f"Answer from this:\n[1] harbour.txt\n{HARBOUR}\n\n[2] winter.txt\n{WINTER}")
        assert system.endswith(CITE)
        answer = (await stored(client))[-1]
        passages = answer["metadata"]["passages"]
        assert [(one["number"], one["title"], one["page"]) for one in passages[:2]] == [
            (1, "harbour.txt", None),
            (2, "winter.txt", None),
        ]
        assert passages[0]["score"] > passages[1]["score"] >= 0.4
        # Nothing was before the question, so nothing was rewritten.
        assert models(chat) == ["words", ANSWER]
    async with chat.layer() as layer:
        which = CallFilter(kinds=("embedding",), versions=(assistant.reference,))
        (row,) = (await layer.list_calls(which)).rows
        assert (row.user, row.call.thread_id, row.call.prompt_tokens) == (chat.name("alice"), client.thread_id, 8)


async def test_a_question_that_needs_the_thread_is_looked_up_rewritten(chat: Chat) -> None:
    assistant = await make(chat, model="context-echo")
    async with chat.client("alice", profile=assistant.slug) as client:
        await client.ask("When does the harbour open in the morning?")
        chat.model_server.forget()
        await client.ask("And in winter?")
        rewritten, embedded, answered = [one for one in chat.model_server.requests if not is_title(one)]
        assert [one.model for one in (rewritten, embedded, answered)] == [REWRITES, "words", "context-echo"]
        assert "And in winter?" in rewritten.body["messages"][-1]["content"]
        assert "When does the harbour open" in rewritten.body["messages"][-1]["content"]
        assert embedded.body["input"] == ["When does the harbour open in winter?"]
        assert f"[1] winter.txt\n{WINTER}" in answered.body["messages"][0]["content"]
        # The model gets the question as it was typed.
        assert answered.body["messages"][-1]["content"] == "And in winter?"


async def test_below_the_threshold_the_idk_text_is_the_answer_and_no_model_is_asked(chat: Chat) -> None:
    assistant = await make(chat, type="qa", prompt="{context}\n{question}", idk="I do not know.", model="echo")
    async with chat.client("alice", profile=assistant.slug) as client:
        assert await client.ask("Which zebras paint ceilings?") == "I do not know."
        assert models(chat) == ["words"]
        assert HARBOUR in await client.ask("The harbour opens at six in the morning")


async def test_a_search_that_fails_is_told_and_can_be_tried_again(chat: Chat) -> None:
    assistant = await make(chat, "words:32", type="qa", prompt="{context}\n{question}", idk="No idea.", model="echo")
    async with chat.client("alice", profile=assistant.slug) as client:
        assert "must be trained again" in await client.ask("When does the harbour open?")
        assert "echo" not in models(chat)
        assert client.button("try_again") is not None
        assert "was made with the model words:32" in chat.log
        assert str(client.thread_id) in chat.log


async def test_passages_belong_to_their_question_alone(chat: Chat) -> None:
    assistant = await make(chat, model=ANSWER)
    async with chat.client("alice", profile=assistant.slug) as client:
        await client.ask("Cats sleep all day")
        await client.ask("When does the harbour open in winter?")
        messages = [one.body["messages"] for one in chat.model_server.requests if one.model == ANSWER][-1]
        assert [one["content"] for one in messages[1:]] == [
            "Cats sleep all day",
            "The harbour opens at six [1].",
            "When does the harbour open in winter?",
        ]
        assert "Cats" not in messages[0]["content"]
