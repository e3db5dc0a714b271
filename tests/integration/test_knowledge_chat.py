"""Assistants that answer from documents: what the model gets, what is stored, and what happens if nothing is found."""

import io
from collections.abc import Mapping
from typing import Any

import pytest
from pypdf import PdfReader
from sqlalchemy import update

from datalayer import Assistant, AssistantAccess, AssistantSettings, CallFilter
from datalayer.schema.knowledge import trainings
from tests.support.chat_client import ChatClient
from tests.support.knowledge import EMBEDDING, train_files
from tests.support.model_server import Recorded
from tests.support.shared_server import Chat
from tests.unit.test_attachments import pdf
from threadkeeper.chat.assistants import CITE
from threadkeeper.citations import element_name

pytestmark = pytest.mark.slow

ANSWER = "say:The harbour opens at six [1]."
CODE = "say:Take `a[1]` [9] and [2]"
PDF = "say:Boats need a pilot [1]"
UNCITED = "say:At six."
REWRITES = "say:When does the harbour open in winter?"
SETTINGS = {
    "OPENAI_MODELS": f"echo,context-echo,length,{ANSWER},{CODE},{PDF},{UNCITED}",
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


@pytest.fixture
def all_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Assistants are trained with all questions of a server, so that scores are compared as there."""
    monkeypatch.setattr("threadkeeper.knowledge.threshold._EMBEDDED_EACH", 1)


async def make(
    chat: Chat, embedding: str = "words", files: Mapping[str, str | bytes] = FILES, **fields: Any
) -> Assistant:
    """An assistant of alice that is trained with these files and this embedding model."""
    async with chat.layer() as layer:
        settings = AssistantSettings(**{"name": f"Harbour {chat.name('x')}", "score_threshold": 0.35, **fields})
        assistant = await layer.create_assistant(settings, access=AssistantAccess("users", users=(chat.name("alice"),)))
        training = await train_files(layer, assistant.slug, files, chat.model_server, embedding)
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


@pytest.mark.usefixtures("all_questions")
async def test_the_model_gets_numbered_passages_and_the_answer_knows_them(chat: Chat) -> None:
    assistant = await make(chat, prompt="Answer from this:\n{context}", model=ANSWER)
    async with chat.client("alice", profile=assistant.slug) as client:
        assert "The harbour opens at six" in await client.ask("When does the harbour open in the morning?")
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
        assert passages[0]["score"] > passages[1]["score"] >= 0.35
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


@pytest.mark.usefixtures("all_questions")
async def test_below_the_threshold_the_idk_text_is_the_answer_and_no_model_is_asked(chat: Chat) -> None:
    assistant = await make(chat, type="qa", prompt="{context}\n{question}", idk="I do not know.", model="echo")
    async with chat.client("alice", profile=assistant.slug) as client:
        assert await client.ask("Which zebras paint ceilings?") == "I do not know."
        assert models(chat) == ["words"]
        assert HARBOUR in await client.ask("The harbour opens at six in the morning")


async def test_a_search_that_fails_is_told_and_can_be_tried_again(chat: Chat) -> None:
    assistant = await make(chat, "words:32", type="qa", prompt="{context}\n{question}", idk="No idea.", model="echo")
    async with chat.layer() as layer:
        # As if the server had another model of the same name since.
        renamed = update(trainings).where(trainings.c.assistantId == assistant.slug).values(model="words")
        async with layer.database.writing_engine.begin() as connection:
            await connection.execute(renamed)
    async with chat.client("alice", profile=assistant.slug) as client:
        assert "must be trained again" in await client.ask("When does the harbour open?")
        assert "echo" not in models(chat)
        assert client.button("try_again") is not None
        assert "has vectors of 32 dimensions" in chat.log
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


async def thread_of(client: ChatClient) -> dict[str, Any]:
    thread: dict[str, Any] = (await client.http.get(f"/project/thread/{client.thread_id}")).raise_for_status().json()
    return thread


async def test_a_cited_text_is_an_element_of_the_answer(chat: Chat) -> None:
    assistant = await make(chat, model=ANSWER)
    async with chat.client("alice", profile=assistant.slug) as client:
        shown = await client.ask("the harbour opens at six in the morning")
        assert shown == f"The harbour opens at six {element_name(1)}."
        (sent,) = [data for name, data in client.events if name == "element"]
        assert (sent["name"], sent["display"], sent["type"]) == (element_name(1), "page", "text")
        thread = await thread_of(client)
        answer, (element,) = thread["steps"][-1], thread["elements"]
        assert (answer["output"], answer["metadata"]["cited"]) == ("The harbour opens at six [1].", [1])
        assert (element["forId"], element["id"]) == (answer["id"], sent["id"])
        assert element["props"]["passage"]["title"] == "harbour.txt"
        text = (await client.http.get(element["url"])).text
        assert text == f"**harbour\\.txt**\n\n{HARBOUR}"
        thread_id = client.thread_id
    async with chat.layer() as layer:
        await layer.delete_knowledge(assistant.slug)
    async with chat.client("alice", thread_id=thread_id) as client:
        resumed = await client.event("resume_thread")
        assert resumed["steps"][-1]["output"] == shown
        assert [one["id"] for one in resumed["elements"]] == [sent["id"]]
        assert (await client.http.get(resumed["elements"][0]["url"])).text == text


async def test_only_numbers_of_passages_outside_of_code_are_citations(chat: Chat) -> None:
    assistant = await make(chat, model=CODE, score_threshold=0.0)
    async with chat.client("alice", profile=assistant.slug) as client:
        assert await client.ask("harbour") == f"Take `a[1]` [9] and {element_name(2)}"
        (element,) = (await thread_of(client))["elements"]
        assert element["props"]["passage"]["number"] == 2


async def test_of_a_pdf_the_cited_page_is_cut_out(chat: Chat) -> None:
    other = "Nets are dried on the quay. " * 60
    harbour = pdf(other, f"Boats over twelve metres need a pilot. {'They wait at the mole. ' * 50}", other)
    assistant = await make(chat, files={"harbour.pdf": harbour}, model=PDF, score_threshold=0.0)
    async with chat.client("alice", profile=assistant.slug) as client:
        await client.ask("boats over twelve metres need a pilot")
        (element,) = (await thread_of(client))["elements"]
        assert (element["type"], element["page"], element["mime"]) == ("pdf", 1, "application/pdf")
        assert element["props"]["passage"]["page"] == 2
        (page,) = PdfReader(io.BytesIO((await client.http.get(element["url"])).content)).pages
        assert "need a pilot" in page.extract_text()
        assert "on the quay" not in page.extract_text()


async def test_of_a_pdf_that_was_replaced_after_the_training_the_text_is_shown(chat: Chat) -> None:
    assistant = await make(chat, files={"harbour.pdf": pdf("Boats over twelve metres need a pilot.")}, model=PDF)
    async with chat.layer() as layer:
        (source,) = await layer.list_sources(assistant.slug)
        await layer.put_source(source, pdf("Something else"))
    async with chat.client("alice", profile=assistant.slug) as client:
        await client.ask("boats over twelve metres need a pilot")
        (element,) = (await thread_of(client))["elements"]
        text = (await client.http.get(element["url"])).text
        assert text == "**harbour\\.pdf, page 1**\n\nBoats over twelve metres need a pilot."


async def test_an_answer_that_cites_nothing_names_what_was_found(chat: Chat) -> None:
    assistant = await make(chat, model=UNCITED)
    async with chat.client("alice", profile=assistant.slug) as client:
        shown = await client.ask("the harbour opens at six in the morning")
        assert shown == "At six.\n\n*The answer cites no passage. Passages found: harbour\\.txt · winter\\.txt.*"
        assert (await stored(client))[-1]["output"] == "At six."
        assert (await thread_of(client))["elements"] == []


async def press(client: ChatClient, name: str) -> None:
    buttons = [data for event, data in client.events if event == "action" and data["name"] == name]
    seen = len(client.events)
    body = {"sessionId": client.session_id, "action": buttons[-1]}
    (await client.http.post("/project/action", json=body)).raise_for_status()
    await client.until(lambda: any(event == "task_end" for event, _ in client.events[seen:]))


async def test_an_answer_that_is_put_back_has_its_citations_again(chat: Chat) -> None:
    assistant = await make(chat, model=ANSWER)
    async with chat.client("alice", profile=assistant.slug) as client:
        shown = await client.ask("the harbour opens at six in the morning")
        (first,) = (await thread_of(client))["elements"]
        await press(client, "regenerate")
        await client.until(lambda: [name for name, _ in client.events].count("element") == 2)
        assert len((await thread_of(client))["elements"]) == 2
        await press(client, "show_version")
        assert client.answer == shown
        answer = (await stored(client))[-1]
        assert (answer["id"], answer["metadata"]["cited"]) == (first["forId"], [1])
        assert answer["metadata"]["passages"][0]["title"] == "harbour.txt"
        assert (await client.http.get(first["url"])).status_code == 200
        thread_id = str(client.thread_id)
    async with chat.layer() as layer:
        keys = {one["objectKey"] for one in (await layer.get_thread(thread_id))["elements"]}
        assert len(keys) == 2
        await layer.delete_thread(thread_id)
        assert not keys & {blob.key async for blob in layer.blobs.list()}


async def test_an_edited_question_gets_its_own_passages(chat: Chat) -> None:
    assistant = await make(chat, model=ANSWER)
    async with chat.client("alice", profile=assistant.slug) as client:
        await client.ask("the harbour opens at six in the morning")
        question, seen = (await stored(client))[0], len(client.events)
        await client.emit("edit_message", {"message": {**question, "output": "cats sleep all day"}})
        await client.until(lambda: any(name == "task_end" for name, _ in client.events[seen:]))
        answer = (await stored(client))[-1]
        assert [one["title"] for one in answer["metadata"]["passages"]] == ["cats.txt"]
        # Nothing was before the question.
        assert models(chat).count(REWRITES) == 0


async def test_a_continued_answer_goes_on_with_the_passages_that_it_cites(chat: Chat) -> None:
    assistant = await make(chat, model="length")
    async with chat.client("alice", profile=assistant.slug) as client:
        await client.ask("the harbour opens at six in the morning [2]")
        before = (await stored(client))[-1]
        assert before["metadata"]["cited"] == [2]
        chat.model_server.forget()
        await press(client, "continue_answer")
        (asked,) = [one.body for one in chat.model_server.requests if one.model == "length"]
        assert f"[1] harbour.txt\n{HARBOUR}\n\n[2] winter.txt\n{WINTER}" in asked["messages"][0]["content"]
        assert models(chat) == ["length"], "nothing is looked up again"
        after = (await stored(client))[-1]
        assert (after["metadata"]["cited"], after["metadata"]["passages"]) == ([2], before["metadata"]["passages"])
        assert len((await thread_of(client))["elements"]) == 1


async def test_an_answer_from_passages_alone_is_not_continued_without_any(chat: Chat) -> None:
    prompt = "{context}\n{question}"
    assistant = await make(chat, type="qa", prompt=prompt, idk="I do not know.", model="length")
    async with chat.client("alice", profile=assistant.slug) as client:
        await client.ask("the harbour opens at six in the morning")
        before = (await stored(client))[-1]
        async with chat.layer() as layer:
            for source in await layer.list_sources(assistant.slug):
                await layer.delete_source(source.id)
            await train_files(layer, assistant.slug, {"zebras.txt": "Which zebras paint ceilings?"}, chat.model_server)
        chat.model_server.forget()
        await press(client, "continue_answer")
        assert "length" not in models(chat)
        answer, told = (await stored(client))[-2:]
        assert (answer["output"], told["output"]) == (before["output"], "I do not know.")
        assert told["metadata"]["status"] == "notice"


async def test_a_reader_of_a_shared_thread_sees_what_is_cited(chat: Chat) -> None:
    await chat.add_user("bob")
    assistant = await make(chat, model=ANSWER)
    async with chat.client("alice", profile=assistant.slug) as client:
        shown = await client.ask("the harbour opens at six in the morning")
        body = {"threadId": client.thread_id, "isShared": True}
        (await client.http.put("/project/thread/share", json=body)).raise_for_status()
        thread_id = client.thread_id
    async with chat.client("bob") as reader:
        shared = (await reader.http.get(f"/project/share/{thread_id}")).raise_for_status().json()
        assert shared["steps"][-1]["output"] == shown
        (element,) = shared["elements"]
        assert (element["display"], (await reader.http.get(element["url"])).status_code) == ("side", 200)
