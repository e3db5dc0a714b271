"""The model client against servers that refuse parts of a request, or ask for a wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.support.model_server import ModelServer
from threadkeeper.chat.messages import ChatMessage
from threadkeeper.chat.model import Delta, Model, ModelError, ModelRequest, Purpose
from threadkeeper.chat.providers import create_model
from threadkeeper.chat.providers.openai_errors import response_error, wait_demanded
from threadkeeper.chat.titles import make_title

MESSAGES: list[ChatMessage] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
]


@pytest.fixture
async def model(model_server: ModelServer) -> AsyncIterator[Model]:
    connected = create_model(base_url=model_server.base_url, timeout_seconds=60)
    yield connected
    await connected.close()


async def answer(model: Model, name: str, messages: list[ChatMessage] = MESSAGES, **options: Any) -> str:
    events = [event async for event in model.stream(ModelRequest(messages, name, **options))]
    return "".join(event.text for event in events if isinstance(event, Delta))


async def failure(model: Model, name: str, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await answer(model, name, **options)
    return caught.value


def roles(model_server: ModelServer) -> list[list[tuple[str, str]]]:
    return [[(one["role"], one["content"]) for one in sent.body["messages"]] for sent in model_server.requests]


@pytest.mark.parametrize("name", ["no-system", "no-system-template", "no-system-detail"])
async def test_a_model_without_system_role_gets_the_prompt_before_the_first_question(
    model_server: ModelServer, model: Model, name: str
) -> None:
    for _ in range(2):
        assert await answer(model, name) == "You said: three"
    plain = [("user", "Be brief.\n\none"), ("assistant", "two"), ("user", "three")]
    # The second question does not try the system role again.
    assert roles(model_server)[1:] == [plain, plain]
    assert roles(model_server)[0][0] == ("system", "Be brief.")


async def test_a_model_without_system_role_writes_titles(model_server: ModelServer, model: Model) -> None:
    assert await make_title(model, "question", "answer", title_model="no-system") is not None
    assert len(model_server.requests) == 2


async def test_a_conversation_that_begins_with_an_answer_is_accepted(model_server: ModelServer, model: Model) -> None:
    greeted: list[ChatMessage] = [{"role": "assistant", "content": "Welcome."}, {"role": "user", "content": "Hello"}]
    assert await answer(model, "alternate", greeted) == "You said: Hello"
    assert [role for role, _ in roles(model_server)[1]] == ["user", "assistant", "user"]
    assert await answer(model, "alternate", [MESSAGES[0], *greeted]) == "You said: Hello"
    assert roles(model_server)[2][0] == ("user", "Be brief.")


async def test_an_unexplained_refusal_is_tried_without_system_message_until_one_was_accepted(
    model_server: ModelServer, model: Model
) -> None:
    assert (await failure(model, "grumpy:three")).kind == "refused"
    assert [sent[0][0] for sent in roles(model_server)] == ["system", "user"]
    model_server.forget()
    await answer(model, "grumpy:three", MESSAGES[:2])
    assert (await failure(model, "grumpy:three")).kind == "refused"
    assert len(model_server.requests) == 2, "the model takes system messages, so they are not the reason"


async def test_fastapis_refusal_of_a_parameter_is_understood(model_server: ModelServer, model: Model) -> None:
    for _ in range(2):
        assert await answer(model, "no-stream-options") == "You said: three"
    assert ["stream_options" in sent.body for sent in model_server.requests] == [True, False, False]


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("gemini-window:3", "too_long", "exceeds the maximum number of tokens allowed (3)"),
        ("grok-window:3", "too_long", "maximum prompt length is 3"),
        ("filter:three", "filtered", "content management policy"),
        ("filter-all:two", "filtered", "Content Exists Risk"),
        ("litellm-quota", "quota", "exceeded your current quota"),
        ("litellm-unknown", "not_found", "Invalid model name"),
    ],
)
async def test_refusals_are_understood_by_their_words(model: Model, name: str, kind: str, words: str) -> None:
    error = await failure(model, name)
    assert error.kind == kind
    assert words in error.detail


async def test_the_log_has_fastapis_words(model: Model) -> None:
    no_text: list[ChatMessage] = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}
    ]
    error = await failure(model, "no-pictures-string", messages=no_text)
    assert (error.kind, error.values["status"]) == ("no_pictures", 422)
    assert "messages.1.content: Input should be a valid string" in error.detail


@pytest.mark.parametrize("name", ["429:2:90", "busy:2:90", "503:1:90"])
async def test_a_longer_wait_than_the_time_out_is_not_waited_for(model_server: ModelServer, name: str) -> None:
    model = create_model(base_url=model_server.base_url, timeout_seconds=60)
    error = await failure(model, name)
    assert error.values["wait"] == float(name.split(":")[2])
    assert len(model_server.requests) == 1
    await model.close()


async def test_all_waits_together_are_bounded_by_the_time_out(model_server: ModelServer) -> None:
    model = create_model(base_url=model_server.base_url, timeout_seconds=5, max_retries=10)
    began = time.perf_counter()
    error = await failure(model, "429:99:2")
    assert time.perf_counter() - began >= 4
    assert (error.kind, len(model_server.requests)) == ("rate_limit", 3)
    await model.close()


async def test_earlier_requests_for_the_same_answer_count_for_the_bound(
    model_server: ModelServer, model: Model
) -> None:
    error = await failure(model, "429:99:0.4", wait_until=time.perf_counter() + 0.1)
    assert (error.values["wait"], len(model_server.requests)) == (0.4, 1)


@pytest.mark.parametrize(("name", "seconds"), [("429:2:0.2", [0.2, 0.2]), ("busy:1:0.3", [0.3])])
async def test_each_wait_is_passed_on(model: Model, name: str, seconds: list[float]) -> None:
    waited: list[float] = []

    async def wait(pause: float) -> None:
        waited.append(pause)

    assert await answer(model, name, purpose=Purpose(on_wait=wait)) == "You said: three"
    assert waited == seconds


async def test_a_failure_without_a_wait_is_repeated_with_back_off(model: Model) -> None:
    waited: list[float] = []

    async def wait(pause: float) -> None:
        waited.append(pause)

    await answer(model, "500:2:0", purpose=Purpose(on_wait=wait))
    assert 0.37 <= waited[0] <= 0.5 < waited[1] <= 1.0


async def test_a_wait_can_be_stopped(model_server: ModelServer, model: Model) -> None:
    waiting = asyncio.create_task(answer(model, "429:1:3"))
    while not model_server.requests:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(model_server.requests) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, 7.5),
        ({"retry-after": "inf"}, 7.5),
        ({"retry-after": "-5"}, 7.5),
        ({}, 7.5),
    ],
)
def test_the_wait_is_read_from_headers_and_words(headers: dict[str, str], seconds: float) -> None:
    response = httpx2.Response(429, headers=headers, json={"error": {"message": "Please try again in 7.5s."}})
    assert wait_demanded(response) == seconds


def test_a_firewall_before_the_server_refuses_the_request_and_not_the_key() -> None:
    page = httpx2.Response(403, headers={"content-type": "text/html"}, text="<h1>Sorry, you have been blocked</h1>")
    assert response_error(page, "").kind == "refused"
    assert response_error(httpx2.Response(403, json={"detail": "Forbidden"}), "").kind == "auth"


@pytest.mark.parametrize("name", ["litellm-quota", "filter:three", "gemini-window:3"])
async def test_a_refusal_for_good_is_not_repeated(model_server: ModelServer, model: Model, name: str) -> None:
    await failure(model, name)
    assert len(model_server.requests) == 1
