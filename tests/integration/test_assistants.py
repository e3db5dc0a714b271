"""Assistants in the chat: the picker, the request to the model, what is stored, and what happens without access."""

import json
from typing import Any

import pytest

from datalayer import Assistant, AssistantAccess, AssistantSettings
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.chat_client import ChatClient
from tests.support.shared_server import Chat

pytestmark = pytest.mark.slow

SETTINGS = {
    "OPENAI_MODELS": "echo,context-echo,refuse:top_p,slow:60:0.1",
    "OPENAI_TITLE_MODEL": "say:A Fine Title",
}


@pytest.fixture
async def chat(chat: Chat) -> Chat:
    for name in ("alice", "bob"):
        await chat.add_user(name)
    return chat


async def make(chat: Chat, *users: str, **fields: Any) -> Assistant:
    """An assistant for these users."""
    access = AssistantAccess("users", users=tuple(map(chat.name, users)))
    async with chat.layer() as layer:
        settings = AssistantSettings(**{"name": f"Travel {chat.name('x')}", **fields})
        return await layer.create_assistant(settings, access=access)


async def stored(client: ChatClient) -> list[dict[str, Any]]:
    thread = (await client.http.get(f"/project/thread/{client.thread_id}")).raise_for_status().json()
    return [step for step in thread["steps"] if step["type"].endswith("_message")]


async def press(client: ChatClient, button: dict[str, Any]) -> None:
    seen = len(client.events)
    body = {"sessionId": client.session_id, "action": button}
    (await client.http.post("/project/action", json=body)).raise_for_status()
    await client.until(lambda: any(name == "task_end" for name, _ in client.events[seen:]))


def buttons(client: ChatClient) -> list[dict[str, Any]]:
    return [data for event, data in client.events if event == "action" and data["name"] == "ask_prompt"]


def requests(chat: Chat, model: str = "echo") -> list[dict[str, Any]]:
    return [one.body for one in chat.model_server.requests if one.model == model]


async def test_an_assistant_answers_with_its_prompt_and_parameters(chat: Chat) -> None:
    assistant = await make(
        chat,
        "alice",
        prologue="Where to?",
        prompt="Be a travel agent. Known: {context}",
        temperature=0.25,
        top_p=0.5,
        max_tokens=77,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={"42": -100},
        stop=("END",),
        opening_prompts=("To Rome",),
        tips=("And the hotel?",),
    )
    async with chat.client("alice", profile=assistant.slug) as client:
        assert [step["output"] for step in client.answers()] == ["Where to?"]
        (opening,) = buttons(client)
        await press(client, opening)
        (body,) = requests(chat)
        assert [message["content"] for message in body["messages"]] == [
            "Be a travel agent. Known: [No passages were found.]",
            "Where to?",
            "To Rome",
        ]
        given = {name: body[name] for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty")}
        assert given == {"temperature": 0.25, "top_p": 0.5, "presence_penalty": 0.5, "frequency_penalty": -0.5}
        assert (body["logit_bias"], body["stop"]) == ({"42": -100}, ["END"])
        assert 77 in (body.get("max_tokens"), body.get("max_completion_tokens"))
        greeting, question, answer = await stored(client)
        assert (greeting["output"], question["output"], answer["output"]) == (
            "Where to?",
            "To Rome",
            "You said: To Rome",
        )
        assert greeting["metadata"]["status"] == "prologue"
        assert answer["metadata"]["assistant_version"] == f"{assistant.slug}@1"
        # The thread is named after its first question, until it has a title.
        names = [data["interaction"] for name, data in client.events if name == "first_interaction"]
        assert opening["payload"]["prompt"] in names
        await client.until(
            lambda: any(n == "first_interaction" and d["interaction"] == "A Fine Title" for n, d in client.events)
        )
        await press(client, buttons(client)[-1])
        assert [step["output"] for step in await stored(client)][3:] == ["And the hotel?", "You said: And the hotel?"]
    async with chat.layer() as layer:
        calls = await layer.calls_of_step(str(client.thread_id), answer["id"])
        assert [(one.assistant, one.assistant_version) for one in calls] == [(assistant.slug, 1)]
        numbers = await layer.assistant_numbers(assistant.slug)
        assert (numbers.total.threads, numbers.total.answers) == (1, 2)


async def test_a_page_that_replaces_its_socket_shows_the_greeting_and_its_buttons_once(chat: Chat) -> None:
    assistant = await make(chat, "alice", prologue="Where to?", opening_prompts=("To Rome",))
    left, page = (chat.client("alice", profile=assistant.slug) for _ in range(2))
    page.session_id = left.session_id
    try:
        await left.log_in()
        await page.log_in()
        await left.connect()
        await left.close()
        await page.connect(starts=False)
        await page.event("action")
        assert (page.answers()[0]["id"], buttons(page)) == (left.answers()[0]["id"], buttons(left))
        removed = [name for name, _ in page.events if name in ("remove_action", "action")]
        assert removed == ["remove_action", "action"], "a page that has the button shows it once"
        await press(page, buttons(page)[0])
        assert [step["output"] for step in await stored(page)] == ["Where to?", "To Rome", "You said: To Rome"]
        assert len([data for name, data in page.events if name == "new_message" and data["output"] == "Where to?"]) == 1
        threads = await page.http.post("/project/threads", json={"pagination": {"first": 9}, "filter": {}})
        assert len(threads.raise_for_status().json()["data"]) == 1
    finally:
        await left.close()
        await page.close()


async def test_a_page_that_replaces_its_socket_learns_which_assistant_is_missing(chat: Chat) -> None:
    left, page = (chat.client("alice", profile="no-such-assistant") for _ in range(2))
    page.session_id = left.session_id
    try:
        await left.log_in()
        await page.log_in()
        await left.connect()
        await page.connect(starts=False)
        assert await page.event("toast") == await left.event("toast")
    finally:
        await left.close()
        await page.close()


async def test_a_template_with_the_question_replaces_what_is_sent_and_not_what_is_stored(chat: Chat) -> None:
    assistant = await make(chat, "alice", prompt="In one word: {question} {{sic}}", model="context-echo")
    async with chat.client("alice", profile=assistant.slug) as client:
        assert [data for name, data in client.events if name == "set_modes"] == [[]], "its model is fixed"
        await client.ask("Why {context}?")
        (body,) = requests(chat, "context-echo")
        assert [one["content"] for one in body["messages"]] == ["In one word: Why {context}? {sic}"]
        assert (await stored(client))[0]["output"] == "Why {context}?"


async def test_a_refused_parameter_is_named_and_the_question_is_answered(chat: Chat) -> None:
    assistant = await make(chat, "alice", model="refuse:top_p", top_p=0.5)
    async with chat.client("alice", profile=assistant.slug) as client:
        assert await client.ask("hello") == "You said: hello"
        assert (await stored(client))[-1]["metadata"]["left_out_parameters"] == ["top_p"]
        assert "refuses the parameter top_p" in chat.log


async def test_an_assistant_that_answers_from_passages_alone_says_its_idk_text_without_any(chat: Chat) -> None:
    assistant = await make(
        chat,
        "alice",
        type="qa",
        prompt="{context} {question}",
        idk="I do not know.",
        idk_link="https://help.example/",
    )
    async with chat.client("alice", profile=assistant.slug) as client:
        assert await client.ask("What is the answer?") == "I do not know.\n\n<https://help.example/>"
        assert not requests(chat)
    async with chat.layer() as layer:
        total = (await layer.assistant_numbers(assistant.slug)).total
        assert (total.answers, total.unknown) == (1, 1)


async def test_a_thread_goes_on_with_its_assistant_and_with_its_newest_version(chat: Chat) -> None:
    assistant = await make(chat, "alice", prompt="First version", tips=("More",))
    async with chat.client("alice", profile=assistant.slug) as client:
        await client.ask("one")
        thread_id = client.thread_id
    async with chat.layer() as layer:
        await layer.save_assistant(assistant.slug, AssistantSettings("Travel", prompt="Second version", tips=("More",)))
        # As after a crash: the end of the session was not stored.
        await layer.update_thread(str(thread_id), metadata={"chat_profile": None})
    # The page still has the profile of another chat.
    async with chat.client("alice", thread_id=thread_id, profile="default") as client:
        resumed = await client.event("resume_thread")
        assert resumed["metadata"]["chat_profile"] == assistant.slug
        assert [one["label"] for one in buttons(client)] == ["More"]
        await client.ask("two")
        assert requests(chat)[-1]["messages"][0]["content"] == "Second version"
        versions = [(step["metadata"] or {}).get("assistant_version") for step in await stored(client)]
        assert versions == [None, f"{assistant.slug}@1", None, f"{assistant.slug}@2"]


async def test_a_thread_of_the_default_chat_stays_there_whatever_the_page_has_chosen(chat: Chat) -> None:
    assistant = await make(chat, "alice", prompt="Not here")
    async with chat.client("alice", profile="default") as client:
        await client.ask("one")
        thread_id = client.thread_id
    async with chat.client("alice", thread_id=thread_id, profile=assistant.slug) as client:
        assert (await client.event("resume_thread"))["metadata"]["chat_profile"] == "default"
        await client.ask("two")
        assert "Not here" not in json.dumps(requests(chat)[-1])
        assert not [step for step in await stored(client) if "assistant_slug" in (step["metadata"] or {})]


async def change_access(layer: ChainlitLayer, assistant: Assistant) -> None:
    await layer.save_assistant(assistant.slug, assistant.settings, access=AssistantAccess("users"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [("delete", "no longer exists"), ("access", "do not have access")],
    ids=["deleted", "no-access"],
)
async def test_without_its_assistant_a_thread_is_read_and_answered_by_the_default_which_says_so(
    chat: Chat, change: str, sentence: str
) -> None:
    assistant = await make(chat, "alice", prompt="Gone")
    async with chat.client("alice", profile=assistant.slug) as client:
        await client.ask("one")
        thread_id = client.thread_id
        async with chat.layer() as layer:
            await (layer.delete_assistant(assistant.slug) if change == "delete" else change_access(layer, assistant))
        # A turn of the open page, and an edit of its question.
        await client.ask("two")
        assert "Gone" not in json.dumps(requests(chat)[-1])
        shown = [step["output"] for step in client.answers()]
        assert [text for text in shown if sentence in text]
        question = (await stored(client))[0]
        seen = len(client.events)
        await client.emit("edit_message", {"message": {**question, "output": "uno"}})
        await client.until(lambda: any(name == "task_end" for name, _ in client.events[seen:]))
        assert "Gone" not in json.dumps(requests(chat)[-1])
        answer = (await stored(client))[-1]
        assert (answer["output"], answer["metadata"]["assistant_slug"]) == ("You said: uno", "default")
    async with chat.client("alice", thread_id=thread_id) as client:
        resumed = await client.event("resume_thread")
        assert [step["output"] for step in resumed["steps"] if sentence in step["output"]]
        assert [step["output"] for step in resumed["steps"] if step["output"] == "You said: uno"]
        assert await client.ask("three") == "You said: three"


async def test_a_forged_profile_gives_no_access(chat: Chat) -> None:
    assistant = await make(chat, "bob", prompt="Secret of Bob", prologue="Hello Bob")
    async with chat.client("alice", profile=assistant.slug) as client:
        assert not client.answers()
        assert "do not have access" in str([data for name, data in client.events if name == "toast"])
        await client.ask("one")
        assert "Secret" not in json.dumps(requests(chat)[-1])
        settings = (await client.http.get("/project/settings", params={"language": "en-US"})).json()
        assert assistant.slug not in json.dumps(settings["chatProfiles"])
    async with chat.client("bob") as client:
        settings = (await client.http.get("/project/settings", params={"language": "zh-CN"})).json()
        default, own = settings["chatProfiles"]
        assert (default["name"], default["display_name"], default["default"]) == ("default", "聊天", True)
        assert (own["name"], own["display_name"], own["starters"]) == (assistant.slug, assistant.settings.name, [])


async def test_opening_prompts_are_starters_where_no_first_message_hides_them(chat: Chat) -> None:
    assistant = await make(chat, "alice", opening_prompts=("To Rome", "x" * 80))
    async with chat.client("alice", profile=assistant.slug) as client:
        settings = (await client.http.get("/project/settings", params={"language": "en-US"})).json()
        own = next(one for one in settings["chatProfiles"] if one["name"] == assistant.slug)
        assert [(one["label"], one["message"]) for one in own["starters"]] == [
            ("To Rome", "To Rome"),
            ("x" * 59 + "…", "x" * 80),
        ]
        assert not buttons(client)
        assert "RuntimeWarning" not in chat.log
