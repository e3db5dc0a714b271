"""Threads with questions that a server refuses: the next question is answered, whatever the thread contains."""

import json
from typing import Any

import pytest

from tests.support.chat_client import ChatClient
from tests.support.model_server import ModelServer
from tests.support.shared_server import Chat
from threadkeeper.chat.context.history import ANSWER_ABSENT, MESSAGES_ABSENT
from threadkeeper.chat.wording import say

pytestmark = pytest.mark.slow

MODELS = (
    "echo,say:Fine,context-echo,small-pictures:3000,small-pictures:5,no-pictures,no-pictures-500,no-pictures-openrouter,filter:forbidden,"
    "filter-all:secret,filter-answers:secret,broken-answers:secret,gemini-window:600,no-system,broken:crash,grumpy:odd,500,window:60,429:1:2,429:9:3,429:9:120"
)
SETTINGS = {
    "OPENAI_MODELS": MODELS,
    "OPENAI_TITLE_MODEL": "say:A Fine Title",
    "OPENAI_TIMEOUT_SECONDS": "60",
    "OPENAI_MAX_RETRIES": "1",
    "OPENAI_CONTEXT_TOKENS": "20000",
}
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
async def chat(chat: Chat) -> Chat:
    await chat.add_user("alice")
    return chat


def use(model: str) -> dict[str, str]:
    return {"model": model}


async def stored(client: ChatClient) -> dict[str, Any]:
    answer = await client.http.get(f"/project/thread/{client.thread_id}")
    return dict(answer.raise_for_status().json())


async def question(client: ChatClient, text: str) -> dict[str, Any]:
    steps = (await stored(client))["steps"]
    return dict(next(step for step in steps if step["type"] == "user_message" and step["output"] == text))


async def ask_with_file(client: ChatClient, text: str, model: str, content: bytes, name: str = "cat.png") -> str:
    kind = "image/png" if name.endswith("png") else "text/plain"
    file_id = await client.upload(name, content, kind)
    seen = len(client.events)
    await client.send(text, modes=use(model), files=[file_id])
    await ended(client, seen)
    return client.answer


async def ended(client: ChatClient, seen: int) -> None:
    await client.until(lambda: any(name == "task_end" for name, _ in client.events[seen:]))


async def edit(client: ChatClient, text: str, new: str) -> str:
    step, seen = await question(client, text), len(client.events)
    await client.emit("edit_message", {"message": {**step, "output": new}})
    await ended(client, seen)
    return client.answer


async def press(client: ChatClient, label: str) -> None:
    """Press the button under the last error."""
    actions = [data for name, data in client.events if name == "action" and data["name"] == "try_again"]
    assert actions[-1]["label"] == label
    seen = len(client.events)
    body = {"sessionId": client.session_id, "action": actions[-1]}
    (await client.http.post("/project/action", json=body)).raise_for_status()
    await ended(client, seen)


def texts(model_server: ModelServer, model: str) -> list[str]:
    """The last request to this model: its messages as JSON, without the system prompt."""
    sent = [one for one in model_server.requests if one.model == model][-1]
    return [json.dumps(one["content"]) for one in sent.body["messages"] if one["role"] != "system"]


async def test_a_refused_picture_is_not_sent_with_the_next_question(chat: Chat) -> None:
    model = "small-pictures:3000"
    async with chat.client("alice") as client:
        error = await ask_with_file(client, "What is this?", model, PNG + b"x" * 5200)
        assert "refused an image" in error
        assert "asks again without the attached files" in error
        assert await client.ask("What is 2+2?", modes=use(model)) == "You said: What is 2+2?"
        assert texts(chat.model_server, model) == ['"What is 2+2?"']
        step = await question(client, "What is this?")
        assert step["metadata"]["failed"] == "picture_refused"
    # After a reload, the stored thread says the same.
    async with chat.client("alice", thread_id=client.thread_id) as client:
        assert await client.ask("And 3+3?", modes=use(model)) == "You said: And 3+3?"
        assert "What is this" not in str(texts(chat.model_server, model))


async def test_an_edit_of_a_refused_picture_drops_it(chat: Chat) -> None:
    model = "small-pictures:3000"
    async with chat.client("alice") as client:
        await ask_with_file(client, "What is this?", model, PNG + b"x" * 5200)
        assert await edit(client, "What is this?", "What is 2+2?") == "You said: What is 2+2?"
        assert any("sent to the model without them" in one["output"] for one in client.answers())
        assert await client.ask("And then?", modes=use(model)) == "You said: And then?"
        assert texts(chat.model_server, model)[0] == '"What is 2+2?"'


async def test_a_button_asks_again_without_the_file(chat: Chat) -> None:
    model = "no-pictures"
    async with chat.client("alice") as client:
        assert "cannot process images" in await ask_with_file(client, "What is this?", model, PNG)
        await press(client, "Ask again without the files")
        assert (client.button("try_again") or {})["tooltip"] == say("ask_without_files_hint", "en", model=model)
        assert client.answer == "You said: What is this?"
        # The file is still in the thread, but it is not sent with later questions either.
        assert len((await stored(client))["elements"]) == 1
        assert await client.ask("Sure?", modes=use("context-echo")) != ""
        assert "image_url" not in client.answer


async def test_a_refused_picture_in_a_thread_of_an_earlier_version_is_known(chat: Chat) -> None:
    """Those threads have an error under the question, and no mark at the question."""
    model = "small-pictures:3000"
    async with chat.client("alice") as client:
        await ask_with_file(client, "What is this?", model, PNG + b"x" * 5200)
        asked = await question(client, "What is this?")
    async with chat.layer() as layer:
        await layer.update_step({**asked, "metadata": {"x": 1}})
    async with chat.client("alice", thread_id=client.thread_id) as client:
        assert "failed" not in (await question(client, "What is this?"))["metadata"]
        action = client.button("try_again")
        assert action is not None
        assert action["label"] == "Ask again without the files"
        assert await client.ask("What is 2+2?", modes=use(model)) == "You said: What is 2+2?"
        assert await edit(client, "What is this?", "And what is 3+3?") == "You said: And what is 3+3?"


async def test_a_filtered_question_does_not_close_the_thread(chat: Chat) -> None:
    model = "filter:forbidden"
    async with chat.client("alice") as client:
        await client.ask("Hello", modes=use(model))
        error = await client.ask("a forbidden thing", modes=use(model))
        assert "will not be sent again by itself" in error
        assert "edit the message" in error
        await client.ask("another forbidden thing", modes=use(model))
        answer = await client.ask("Then tell me about cats", modes=use(model))
        assert answer == "You said: Then tell me about cats"
        assert texts(chat.model_server, model) == ['"Hello"', '"You said: Hello"', '"Then tell me about cats"']
        assert await edit(client, "a forbidden thing", "a nice thing") == "You said: a nice thing"
    sent = [json.dumps(one.body) for one in chat.model_server.requests if one.model == model]
    refused = [one for one in sent if '"a forbidden thing"' in one]
    assert len(refused) == 3, "with the thread, without its newest answer, alone: in its own turn only"
    assert refused == sent[1:4]


async def test_an_answer_that_trips_the_filter_does_not_fail_the_next_question(chat: Chat) -> None:
    """The model itself writes the word: no question and no answer fails, and one notice says what is left out."""
    model = "filter-answers:secret"
    async with chat.client("alice") as client:
        await client.ask("Hello", modes=use(model))
        await client.ask("tell me a secret", modes=use(model))
        for text in ("What is 2+2?", "And 3+3?"):
            known = len(client.answers())
            await client.ask(text, modes=use(model))
            told = [one["output"] for one in client.answers()[known:]]
            assert told[0] == f"You said: {text}"
            expected = [True] if "2+2" in text else []
            assert [("no longer sees them" in one) for one in told[1:]] == expected, "told once"
        assert texts(chat.model_server, model) == [
            '"Hello"',
            '"You said: Hello"',
            '"tell me a secret"',
            f'"{ANSWER_ABSENT}"',
            '"What is 2+2?"',
            '"You said: What is 2+2?"',
            '"And 3+3?"',
        ]
        sent = [one for one in chat.model_server.requests if one.model == model]
        assert len(sent) == 5, "the second question begins with what the first one found out"
        # Another such answer adds to it.
        await client.ask("another secret", modes=use(model))
        await client.ask("cats?", modes=use(model))
        assert client.answer == "You said: cats?"
        assert texts(chat.model_server, model).count(f'"{ANSWER_ABSENT}"') == 2
        # A model that takes the answer gets it.
        assert await client.ask("dogs?", modes=use("echo")) == "You said: dogs?"
        assert "You said: tell me a secret" in str(texts(chat.model_server, "echo"))


async def test_the_refused_half_of_a_thread_is_found(chat: Chat) -> None:
    model = "filter-all:secret"
    async with chat.client("alice") as client:
        for text in ("tell me a secret", "one", "two", "three"):
            await client.ask(text, modes=use("echo"))
        await client.ask("and now?", modes=use(model))
        assert "You said: and now?" in [one["output"] for one in client.answers()]
        expected = ["two", "You said: two", "three", "You said: three", "and now?"]
        assert texts(chat.model_server, model) == [f'"{text}"' for text in expected]
        sent = [one for one in chat.model_server.requests if one.model == model]
        assert MESSAGES_ABSENT in json.dumps(sent[-1].body), "the model knows that there was more"


async def test_an_answer_that_breaks_the_server_does_not_close_the_thread(chat: Chat) -> None:
    """A failure can pass, so the first question after it fails. The second one is asked without the answer."""
    model = "broken-answers:secret"
    async with chat.client("alice") as client:
        await client.ask("tell me a secret", modes=use(model))
        assert "failed" in await client.ask("cats?", modes=use(model))
        await client.ask("dogs?", modes=use(model))
        assert "You said: dogs?" in [one["output"] for one in client.answers()]


async def test_a_file_that_no_longer_fits_is_marked_and_told_once(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await ask_with_file(client, "Read this", "say:Fine", b"word " * 12000, name="long.txt")
        for text in ("word " * 3000, "one", "two"):
            await client.ask(text, modes=use("say:Fine"))
        assert sum("sees only the text" in one["output"] for one in client.answers()) == 1
        first = texts(chat.model_server, "say:Fine")[0]
        assert "long.txt" in first
        assert "Read this" in first
        assert "does not fit" in first


async def test_the_title_model_does_not_get_a_refused_question(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.ask("a forbidden thing", modes=use("filter:forbidden"))
        await client.ask("cats", modes=use("filter:forbidden"))
        await client.until(
            lambda: any(n == "first_interaction" and d["interaction"] == "A Fine Title" for n, d in client.events)
        )
    (titles,) = [one for one in chat.model_server.requests if one.model == "say:A Fine Title"]
    assert "cats" in json.dumps(titles.body)
    assert "forbidden" not in json.dumps(titles.body)


@pytest.mark.parametrize("model", ["no-pictures", "no-pictures-500", "no-pictures-openrouter", "small-pictures:5"])
async def test_earlier_pictures_are_left_out_for_a_model_that_refuses_them(chat: Chat, model: str) -> None:
    async with chat.client("alice") as client:
        await ask_with_file(client, "What is this?", "echo", PNG)
        for text in ("one", "two"):
            known = len(client.answers())
            await client.ask(text, modes=use(model))
            told = [one["output"] for one in client.answers()[known:]]
            assert told[0] == f"You said: {text}"
            assert [("earlier messages" in one) for one in told[1:]] == ([True] if text == "one" else []), "told once"
        assert "this model cannot see pictures" in texts(chat.model_server, model)[0]
        # The second question begins with what the first one found out.
        sent = [one for one in chat.model_server.requests if one.model == model]
        assert ["image_url" in json.dumps(one.body) for one in sent][-2:] == [False, False]
        # A model that takes pictures gets them again.
        await client.ask("three", modes=use("echo"))
        assert "image_url" in texts(chat.model_server, "echo")[0]


async def test_a_model_that_refuses_the_whole_thread_answers_the_question(chat: Chat) -> None:
    model = "filter-all:secret"
    async with chat.client("alice") as client:
        await client.ask("tell me a secret", modes=use("echo"))
        await client.ask("and now?", modes=use(model))
        answer, notice = [one["output"] for one in client.answers()[-2:]]
        assert answer == "You said: and now?"
        assert "no longer sees them" in notice
        await client.ask("go on", modes=use(model))
        assert client.answer == "You said: go on"
        assert texts(chat.model_server, model) == ['"and now?"', '"You said: and now?"', '"go on"']


async def test_a_long_thread_is_shortened_to_the_window_that_the_server_names(chat: Chat) -> None:
    model = "gemini-window:600"
    async with chat.client("alice") as client:
        for number in range(4):
            await client.ask(f"{number} " + "word " * 150, modes=use("echo"))
        await client.ask("a forbidden thing", modes=use("filter:forbidden"))
        await client.ask("short?", modes=use(model))
        answer, notice = [one["output"] for one in client.answers()[-2:]]
        assert answer == "You said: short?"
        assert "longer than the model" in notice
        before = len(chat.model_server.requests)
        assert await client.ask("again?", modes=use(model)) == "You said: again?"
        assert len(chat.model_server.requests) == before + 1, "the window is remembered"
        error = await client.ask("word " * 700, modes=use(model))
        assert "too long for the model" in error
        assert await client.ask("and now?", modes=use(model)) == "You said: and now?"


async def test_a_question_that_failed_for_a_moment_is_still_in_the_context(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.ask("the first question", modes=use("500"))
        assert await client.ask("and?", modes=use("echo")) == "You said: the first question\n\nand?"


async def test_a_question_that_breaks_the_server_does_not_break_the_next_one(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.ask("Hello", modes=use("broken:crash"))
        assert "failed" in await client.ask("crash, please", modes=use("broken:crash"))
        await client.ask("cats?", modes=use("broken:crash"))
        assert "You said: cats?" in [one["output"] for one in client.answers()]
        assert texts(chat.model_server, "broken:crash") == ['"Hello"', '"You said: Hello"', '"cats?"']


async def test_a_refusal_without_a_reason_does_not_close_the_thread(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.ask("something odd", modes=use("echo"))
        await client.ask("and now?", modes=use("grumpy:odd"))
        await client.ask("odd again", modes=use("grumpy:odd"))
        assert await client.ask("cats?", modes=use("grumpy:odd")) == "You said: cats?"


async def test_a_file_that_cannot_be_read_does_not_come_back(chat: Chat) -> None:
    async with chat.client("alice") as client:
        pdf = await client.upload("scan.pdf", b"%PDF-1.4 nothing", "application/pdf")
        seen = len(client.events)
        await client.send("read it", modes=use("echo"), files=[pdf])
        await ended(client, seen)
        assert "scan.pdf" in client.answer
        assert await client.ask("What is 2+2?", modes=use("echo")) == "You said: What is 2+2?"
        assert await edit(client, "read it", "hello") == "You said: hello"


async def test_a_model_without_system_role_works_with_the_default_prompt(chat: Chat) -> None:
    async with chat.client("alice") as client:
        assert (await client.ask("Hello", modes=use("no-system"))).endswith("Hello")
        sent = [one for one in chat.model_server.requests if one.model == "no-system"]
        assert [message["role"] for message in sent[-1].body["messages"]] == ["user"]


async def test_a_conversation_can_have_no_system_prompt(chat: Chat) -> None:
    async with chat.client("alice") as client:
        seen = len(client.events)
        await client.emit("chat_settings_change", {"no_system_prompt": True})
        await ended(client, seen)
        await client.ask("Hello", modes=use("echo"))
        sent = [one for one in chat.model_server.requests if one.model == "echo"]
        assert [message["role"] for message in sent[-1].body["messages"]] == ["user"]


async def test_a_wait_is_counted_down_on_the_page_and_leaves_no_trace(chat: Chat) -> None:
    async with chat.client("alice") as client:
        assert await client.ask("Hello", modes=use("429:1:2")) == "You said: Hello"
        shown = [data["output"] for name, data in client.events if name == "new_message" and "busy" in data["output"]]
        assert shown == ["The model is busy. The next attempt starts in 2 s.", shown[-1]]
        assert shown[-1].endswith("in 1 s.")
        assert [name for name, _ in client.events].count("delete_message") == 1
        outputs = [step["output"] for step in (await stored(client))["steps"] if "message" in step["type"]]
        assert outputs == ["Hello", "You said: Hello"]


async def test_a_wait_can_be_stopped(chat: Chat) -> None:
    async with chat.client("alice") as client:
        await client.send("Hello", modes=use("429:9:3"))
        await client.until(lambda: "busy" in client.answer)
        await client.emit("stop")
        await client.until(lambda: say("stopped_before", "en") in client.answer)
        assert [one["output"] for one in client.answers()] == [say("stopped_before", "en")], "nothing of the wait stays"
        assert len([one for one in chat.model_server.requests if one.model == "429:9:3"]) == 1


async def test_a_wait_that_is_too_long_is_named(chat: Chat) -> None:
    async with chat.client("alice") as client:
        assert "in about 120 seconds" in await client.ask("Hello", modes=use("429:9:120"))
