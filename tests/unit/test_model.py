"""The model client with the openai package, against a scripted server over real HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import openai
import pytest

from tests.support.model_server import API_KEY, ModelServer, count_tokens, pieces
from tests.support.patience import PATIENCE_SECONDS
from threadkeeper.chat.messages import ChatMessage, file_part, picture_parts, user_message
from threadkeeper.chat.model import Delta, Finish, Model, ModelError, ModelRequest, Source, TokenUsage
from threadkeeper.chat.providers import create_model
from threadkeeper.chat.providers.deferred import DeferredModel
from threadkeeper.chat.providers.demo import DemoModel
from threadkeeper.chat.providers.openai import azure_client, openai_client
from threadkeeper.chat.providers.openai_errors import refused_parameter

MESSAGES: list[ChatMessage] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Grüße, 你好, 👋🏽 and bye"},
]
ECHO = "You said: Grüße, 你好, 👋🏽 and bye"


@pytest.fixture
async def model(model_server: ModelServer) -> AsyncIterator[Model]:
    connected = create_model(api_key=API_KEY, base_url=model_server.base_url, timeout_seconds=60)
    yield connected
    await connected.close()


def request_for(name: str, **options: Any) -> ModelRequest:
    return replace(ModelRequest(MESSAGES, name), **options)


async def read(model: Model, request: ModelRequest) -> tuple[str, Finish]:
    *deltas, finish = [event async for event in model.stream(request)]
    assert isinstance(finish, Finish)
    texts = [event.text for event in deltas if isinstance(event, Delta)]
    assert len(texts) == len(deltas)
    assert all(texts)
    return "".join(texts), finish


async def failure(model: Model, request: ModelRequest) -> tuple[str, ModelError]:
    texts = []
    with pytest.raises(ModelError) as caught:
        async for event in model.stream(request):
            assert isinstance(event, Delta)
            texts.append(event.text)
    return "".join(texts), caught.value


async def test_stream_returns_the_answer_and_the_servers_usage(model_server: ModelServer, model: Model) -> None:
    text, finish = await read(model, request_for("echo", temperature=0.3, max_tokens=50))
    assert text == ECHO
    sent = model_server.requests[0]
    prompt = count_tokens(sent.body["messages"])
    assert finish == Finish("stop", TokenUsage(prompt, len(pieces(ECHO)), 0, 0), "echo")
    assert sent.headers["authorization"] == f"Bearer {API_KEY}"
    assert sent.body["temperature"] == 0.3
    assert sent.body["max_tokens"] == 50
    assert sent.body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("path", ["", "/v2", "/v1/chat"])
async def test_an_address_without_a_chat_is_told_as_such(model_server: ModelServer, path: str) -> None:
    """And not as a model that does not exist."""
    misled = create_model(api_key=API_KEY, base_url=model_server.root + path, timeout_seconds=60)
    _, error = await failure(misled, request_for("echo"))
    assert error.kind == "wrong_address"
    await misled.close()


@pytest.mark.parametrize("name", ["bytes", "comments", "returns", "late", "no-done", "json", "ndjson"])
async def test_every_form_of_stream_is_read(model: Model, name: str) -> None:
    text, finish = await read(model, request_for(name))
    assert text == ECHO
    assert finish.reason == "stop"
    assert finish.usage is not None


async def test_usage_is_unknown_if_the_server_sends_none(model: Model) -> None:
    assert (await read(model, request_for("no-usage")))[1].usage is None


@pytest.mark.parametrize(("name", "reason"), [("length", "length"), ("filtered", "content_filter")])
async def test_the_reason_for_the_end_of_the_answer_is_returned(model: Model, name: str, reason: str) -> None:
    text, finish = await read(model, request_for(name))
    assert (text, finish.reason) == (ECHO, reason)


async def test_an_answer_without_text_has_no_delta(model: Model) -> None:
    assert (await read(model, request_for("empty")))[0] == ""


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("401", "auth"),
        ("403", "auth"),
        ("404", "not_found"),
        ("no such model", "not_found"),
        ("429", "rate_limit"),
        ("quota", "quota"),
        ("500", "server"),
        ("503", "server"),
        ("window:3", "too_long"),
        ("html", "server"),
        ("error:0:content_filter", "filtered"),
    ],
)
async def test_every_refusal_has_a_kind(model: Model, name: str, kind: str) -> None:
    text, error = await failure(model, request_for(name))
    assert (text, error.kind) == ("", kind)
    assert error.detail
    assert "\n" not in error.detail


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cut:3", "cut"),
        ("short:3", "cut"),
        ("hang:3", "timeout"),
        ("error:3", "server"),
        ("error:3:rate_limit_exceeded", "rate_limit"),
    ],
)
async def test_an_interrupted_answer_keeps_its_text_so_far(model_server: ModelServer, name: str, kind: str) -> None:
    model = create_model(base_url=model_server.base_url, timeout_seconds=2 if kind == "timeout" else 60)
    text, error = await failure(model, request_for(name))
    await model.close()
    assert (text, error.kind) == ("word-1 word-2 word-3 ", kind)
    assert len(model_server.requests) == 1


async def test_invalid_json_ends_the_answer_with_a_reason(model: Model) -> None:
    text, error = await failure(model, request_for("garbage"))
    assert (text, error.kind) == (ECHO, "server")
    assert "this is not JSON" in error.detail


async def test_a_timeout_is_not_retried(model_server: ModelServer) -> None:
    model = create_model(base_url=model_server.base_url, timeout_seconds=1, max_retries=2)
    _, error = await failure(model, request_for("hang"))
    await model.close()
    assert error.kind == "timeout"
    assert len(model_server.requests) == 1


async def test_a_closed_port_is_unreachable(model_server: ModelServer) -> None:
    async with ModelServer() as gone:
        address = gone.base_url
    model = create_model(base_url=address, max_retries=0)
    _, error = await failure(model, request_for("echo"))
    await model.close()
    assert (error.kind, error.values) == ("unreachable", {"is_sent": False})


async def test_a_server_of_another_protocol_is_unreachable() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        model = create_model(base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)
        _, error = await failure(model, request_for("echo"))
        await model.close()
    assert (error.kind, error.values) == ("unreachable", {}), "the request was sent"


async def test_requests_to_busy_and_failing_servers_are_retried(model_server: ModelServer, model: Model) -> None:
    began = time.perf_counter()
    assert (await read(model, request_for("429:2:0.2")))[0] == ECHO
    assert time.perf_counter() - began >= 2 * 0.2
    assert (await read(model, request_for("500:1:0.01")))[0] == ECHO
    assert [recorded.model for recorded in model_server.requests] == ["429:2:0.2"] * 3 + ["500:1:0.01"] * 2


async def test_errors_do_not_contain_the_key(model: Model) -> None:
    """The scripted server repeats the key in its message, as some real ones do."""
    _, error = await failure(model, request_for("401"))
    assert "Incorrect API key provided: ***" in error.detail
    shown = "".join(traceback.format_exception(error)) + repr(error)
    assert API_KEY not in shown


@pytest.mark.parametrize("name", ["temperature", "stream_options"])
async def test_a_refused_parameter_is_not_sent_again(model_server: ModelServer, model: Model, name: str) -> None:
    request = request_for(f"refuse:{name}", temperature=0.2, max_tokens=50)
    for _ in range(2):
        assert (await read(model, request))[0] == ECHO
    assert [name in recorded.body for recorded in model_server.requests] == [True, False, False]
    assert all(recorded.body["max_tokens"] == 50 for recorded in model_server.requests)


async def test_only_the_refused_value_is_not_sent_again(model_server: ModelServer, model: Model) -> None:
    for temperature in (0.2, 0.2, 0.9):
        await read(model, request_for("refuse:temperature", temperature=temperature))
    assert [recorded.body.get("temperature") for recorded in model_server.requests] == [0.2, None, None, 0.9, None]


async def test_the_token_limit_is_sent_under_the_name_that_the_server_accepts(
    model_server: ModelServer, model: Model
) -> None:
    for _ in range(2):
        assert (await read(model, request_for("refuse:max_tokens", max_tokens=50)))[0] == ECHO
    limits = [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in bodies(model_server)]
    assert limits == [(50, None), (None, 50), (None, 50)]


async def test_a_maximum_that_the_server_names_is_kept(model_server: ModelServer, model: Model) -> None:
    for wanted in (9000, 5000, 1000):
        assert (await read(model, request_for("most-output:4096", max_tokens=wanted)))[0] == ECHO
    assert [body["max_tokens"] for body in bodies(model_server)] == [9000, 4096, 4096, 1000]


async def test_an_answer_that_does_not_fit_beside_the_prompt_becomes_shorter(
    model_server: ModelServer, model: Model
) -> None:
    for _ in range(2):
        assert (await read(model, request_for("vllm-window:1000", max_tokens=9000)))[0] == ECHO
    assert [body["max_tokens"] for body in bodies(model_server)] == [9000, 500, 500]


def bodies(model_server: ModelServer) -> list[dict[str, Any]]:
    return [recorded.body for recorded in model_server.requests]


async def test_the_connection_is_reused(model_server: ModelServer, model: Model) -> None:
    for _ in range(3):
        await read(model, request_for("late"))
    assert len({recorded.peer for recorded in model_server.requests}) == 1


async def test_closing_the_stream_ends_the_request(model_server: ModelServer, model: Model) -> None:
    events = model.stream(request_for("slow:1000:0.01"))
    assert await anext(events) == Delta("word-1 ")
    await events.aclose()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await model_server.client_left()
    assert model_server.requests[0].left_early


async def test_complete_does_not_stream(model_server: ModelServer, model: Model) -> None:
    completion = await model.complete(request_for("echo", max_tokens=20))
    assert completion.text == ECHO
    assert completion.finish.usage is not None
    assert "stream" not in model_server.requests[0].body
    with pytest.raises(ModelError, match="not_found"):
        await model.complete(request_for("unknown"))
    with pytest.raises(ModelError, match="server: not a completion"):
        await model.complete(request_for("html"))


async def test_azure_has_its_own_url_and_header(model_server: ModelServer) -> None:
    model = create_model(azure_endpoint=model_server.root, azure_api_key="azure-key", azure_api_version="2030-01-01")
    assert (await read(model, request_for("echo", max_tokens=9)))[0] == ECHO
    await model.close()
    sent = model_server.requests[0]
    assert sent.path == "/openai/deployments/echo/chat/completions"
    assert sent.query == {"api-version": "2030-01-01"}
    assert sent.headers["api-key"] == "azure-key"
    assert sent.body["max_completion_tokens"] == 9


async def test_only_messages_with_pictures_are_sent_in_parts(model_server: ModelServer, model: Model) -> None:
    messages: list[ChatMessage] = [
        user_message("read it", [file_part("a.txt", "text of a")]),
        {"role": "user", "content": "and again"},
        {"role": "assistant", "content": "done"},
        user_message("", picture_parts("b.png", "data:image/png;base64,AAAA")),
    ]
    text, _ = await read(model, ModelRequest(messages, "context-echo"))
    assert json.loads(text) == [
        {"role": "user", "content": '<file name="a.txt">\ntext of a\n</file>\n\nread it\n\nand again'},
        {"role": "assistant", "content": "done"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": '<picture name="b.png">'},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ],
        },
    ]


async def test_characters_without_utf8_are_replaced(model: Model) -> None:
    text, _ = await read(model, ModelRequest([{"role": "user", "content": "half \ud83d an emoji"}], "echo"))
    assert text == "You said: half ? an emoji"


async def test_a_retry_without_a_parameter_is_logged(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "threadkeeper"):
        await read(model, request_for("refuse:temperature", temperature=1.5))
    assert "refuse:temperature refuses the parameter temperature" in caplog.text


def test_without_key_and_url_the_model_is_the_demo() -> None:
    assert isinstance(create_model(), DemoModel)
    assert create_model().demo


@pytest.mark.parametrize(
    "base_url", ["https://api.openai.com/v1", "http://127.0.0.1:9/v1/", "http://[::1]:8/v1", "https://eu.openai.com/v1"]
)
async def test_a_model_names_its_server_before_its_client_is_imported(base_url: str) -> None:
    model = create_model(base_url=base_url)
    client = openai_client(base_url, None, 1, 0)
    host = client.base_url.host
    assert model.source.base_url == str(client.base_url)
    assert model.source.provider == ("openai" if host.endswith(".openai.com") else host)
    assert model.source.library == f"openai {openai.__version__}"
    assert not model.source.has_deployments
    await client.close()


async def test_an_azure_model_names_its_server_before_its_client_is_imported() -> None:
    endpoint = "https://name.openai.azure.com/"
    model = create_model(azure_endpoint=endpoint, azure_api_key="key")
    client = azure_client(endpoint, "key", "2024-10-21", 1, 0)
    assert model.source == Source("azure", str(client.base_url), f"openai {openai.__version__}", has_deployments=True)
    await client.close()


async def test_concurrent_requests_load_a_model_once() -> None:
    made: list[DemoModel] = []

    def make() -> DemoModel:
        time.sleep(0.02)
        made.append(DemoModel())
        return made[-1]

    model = DeferredModel(Source("test", ""), make)
    await model.close()
    request = ModelRequest([{"role": "user", "content": "Hello"}], "m")
    answers = await asyncio.gather(*(model.complete(request) for _ in range(5)))
    assert len(made) == 1
    assert len({answer.text for answer in answers}) == 1
    assert isinstance([event async for event in model.stream(request)][-1], Finish)


async def test_a_client_that_cannot_be_loaded_is_a_model_error_and_is_loaded_again() -> None:
    outcomes: list[Exception | DemoModel] = [ValueError("no proxy"), DemoModel()]

    def make() -> Model:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    model = DeferredModel(Source("test", ""), make)
    request = ModelRequest([{"role": "user", "content": "Hello"}], "m")
    with pytest.raises(ModelError, match="cannot load the client: ValueError: no proxy"):
        await model.complete(request)
    assert (await model.complete(request)).text


async def test_a_model_that_does_not_stream_answers_in_one_piece(
    model_server: ModelServer, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    """As OpenAI's newest models for organizations that are not verified."""
    with caplog.at_level(logging.WARNING):
        text, finish = await read(model, request_for("refuse:stream"))
    assert (text, finish.reason, finish.usage is not None) == (ECHO, "stop", True)
    assert "refuses the parameter stream" in caplog.text
    await read(model, request_for("refuse:stream"))
    assert ["stream" in one.body for one in model_server.requests] == [True, False, False]
    assert "stream_options" not in model_server.requests[-1].body


@pytest.mark.parametrize(
    ("words", "parameter"),
    [
        ("Your organization must be verified to stream this model.", "stream"),
        ("Streaming is not supported for this model", "stream"),
        ("This model does not support streaming.", "stream"),
        ("Unsupported value: 'stream' does not support true with this model.", "stream"),
        ("stream_options: Extra inputs are not permitted", "stream_options"),
        ("The upstream closed the stream", None),
        ("Write a poem about streaming services that are unsupported", None),
    ],
)
def test_the_words_say_that_a_model_does_not_stream(words: str, parameter: str | None) -> None:
    response = httpx2.Response(400, json={"error": {"message": words}})
    sent = {"stream": True, "stream_options": {"include_usage": True}}
    assert refused_parameter(response, sent) == parameter
