"""The gateway over real HTTP, before the scripted server: official clients, every dialect, every refusal, every row."""

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anthropic
import httpx
import openai
import pytest
from fastapi import FastAPI

from datalayer import CallFilter, Project, Provider, User
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import STOPPED, Limit, LlmCall, LlmCallPayload, Price
from tests.support.model_server import ModelServer
from tests.support.patience import until
from tests.support.provider_dialects import CACHED, THOUGHT
from tests.support.records import new_id
from tests.web.conftest import Browser, Serve

SECRET = "sk-provider-0123456789abcdef"
WORDS = "alpha beta gamma"
"""Three tokens for the scripted server, which answers with two more."""


@dataclass
class Rig:
    """An application, a project `lab` with providers of every dialect, and a key of uma for it."""

    layer: ChainlitLayer
    model_server: ModelServer
    client: httpx.AsyncClient
    secret: str
    project: Project
    opened: AsyncExitStack

    def url(self, provider: str, path: str = "") -> str:
        return f"{self.client.base_url}/gateway/lab/{provider}/{path}"

    def openai(self, provider: str = "openai", secret: str | None = None, **options: Any) -> openai.AsyncOpenAI:
        client = openai.AsyncOpenAI(
            api_key=secret or self.secret,
            base_url=self.url(provider).rstrip("/"),
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
            **options,
        )
        self.opened.push_async_callback(client.close)
        return client

    async def post(self, path: str, body: Any, provider: str = "openai", **headers: str) -> httpx.Response:
        sent = {"Authorization": f"Bearer {self.secret}", **{name.replace("_", "-"): headers[name] for name in headers}}
        return await self.client.post(self.url(provider, path), json=body, headers=sent)

    async def calls(self, count: int = 1) -> list[LlmCall]:
        """The newest calls, oldest first, when so many have ended."""

        async def ended() -> list[LlmCall]:
            rows = (await self.layer.list_calls(CallFilter(), descending=False)).rows
            return [row.call for row in rows if row.call.finish_reason != "in_progress"]

        await until(lambda: _has(ended, count))
        return (await ended())[-count:]

    async def call(self) -> LlmCall:
        return (await self.calls())[-1]

    async def payload(self, call: LlmCall) -> LlmCallPayload:
        found = await self.layer.get_call(call.id)
        assert found is not None
        assert found[1] is not None
        return found[1]


async def _has(ended: Callable[[], Awaitable[list[LlmCall]]], count: int) -> bool:
    return len(await ended()) >= count


@pytest.fixture
async def rig(
    layer: ChainlitLayer,
    whole_app: FastAPI,
    people: dict[str, User],
    serve: Serve,
    model_server: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Rig]:
    monkeypatch.setenv("LAB_KEY", SECRET)
    root = model_server.root
    providers = (
        Provider("OpenAI", "openai", f"{root}/v1", secret="LAB_KEY"),
        Provider("Anthropic", "anthropic", root, secret="LAB_KEY"),
        Provider("Gemini", "gemini", root, secret="LAB_KEY"),
        Provider("Azure", "azure", root, secret="LAB_KEY", deployment="east"),
        Provider("Own key", "own", f"{root}/v1", passes_key=True),
        Provider("Nobody", "away", "http://127.0.0.1:9/v1"),
        Provider("No key", "unset", f"{root}/v1", secret="NOT_SET_ANYWHERE"),
        Provider("Incomplete", "incomplete"),
    )
    project = await layer.put_project(Project(new_id(), "The lab", "lab", owner="ada", providers=providers))
    await layer.put_project(
        Project(new_id(), "Other", "other", owner="rita", providers=(replace(providers[0], slug="theirs"),))
    )
    _, secret = await layer.create_api_key("tests", ["gateway"], user="uma", project="lab")
    async with AsyncExitStack() as opened, serve() as client:
        yield Rig(layer, model_server, client, secret, project, opened)


async def text_of(stream: Any) -> str:
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


def chat(model: str = "echo", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": WORDS}], **more}


async def test_the_openai_client_streams_and_its_call_is_recorded(rig: Rig, people: dict[str, User]) -> None:
    await rig.layer.add_price(Price(new_id(), "echo", "2020-01-01", Decimal(2), Decimal(10)))
    client = rig.openai(default_query={"tags": "night,batch"}, default_headers={"x-threadkeeper-tags": "night, own"})
    stream = await client.chat.completions.create(**chat(stream=True))
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == f"You said: {WORDS}"
    assert all(chunk.choices for chunk in chunks), "the frame that the caller did not ask for is taken out"
    call, (recorded,), (billed,) = await rig.call(), rig.model_server.requests, rig.model_server.ledger
    assert recorded.headers["authorization"] == f"Bearer {SECRET}"
    assert recorded.query == {}
    assert recorded.body["stream_options"] == {"include_usage": True}
    assert not [name for name in recorded.headers if name.startswith("x-threadkeeper")]
    assert (call.prompt_tokens, call.completion_tokens) == (billed.prompt_tokens, billed.completion_tokens)
    assert call.total_cost == (2 * billed.prompt_tokens + 10 * billed.completion_tokens) / Decimal(1_000_000)
    assert (call.kind, call.model, call.answered_by, call.status_code) == ("chat", "echo", "echo", 200)
    assert (call.finish_reason, call.error_kind, call.is_streaming, call.is_estimated) == ("stop", None, True, False)
    assert (call.tags, call.user_id, call.project_id) == (("night", "batch", "own"), people["user"].id, rig.project.id)
    assert (call.provider, call.deployment, call.operating_system) == ("127.0.0.1", "openai", "Linux")
    assert (call.library or "").startswith("AsyncOpenAI/Python")
    assert call.seconds is not None
    assert call.first_token_seconds is not None
    assert call.first_token_seconds <= call.seconds
    assert call.tokens_per_second
    payload = await rig.payload(call)
    assert payload.messages == [{"role": "user", "content": WORDS}]
    assert payload.response == f"You said: {WORDS}"


async def test_a_caller_that_asks_for_usage_gets_its_frame(rig: Rig) -> None:
    stream = await rig.openai().chat.completions.create(**chat(stream=True, stream_options={"include_usage": True}))
    usages = [chunk.usage for chunk in [chunk async for chunk in stream] if chunk.usage]
    call = await rig.call()
    assert [usage.prompt_tokens for usage in usages] == [call.prompt_tokens]


async def test_a_server_that_refuses_the_question_for_usage_gets_the_callers_own_request(rig: Rig) -> None:
    client = rig.openai()
    for _ in range(2):
        stream = await client.chat.completions.create(**chat("refuse:stream_options", stream=True))
        assert await text_of(stream) == f"You said: {WORDS}"
    bodies = [recorded.body for recorded in rig.model_server.requests]
    assert ["stream_options" in body for body in bodies] == [True, False, False]
    calls = await rig.calls(2)
    # The tokens that were not reported are counted, and marked so.
    assert all(call.is_estimated and call.completion_tokens and call.prompt_tokens for call in calls)


async def test_every_dialect_is_recorded_to_the_token(rig: Rig, people: dict[str, User]) -> None:
    client, server = rig.openai(), rig.model_server
    completion = await client.chat.completions.create(**chat())
    assert completion.choices[0].message.content == f"You said: {WORDS}"
    old = await client.completions.create(model="gpt-old", prompt=WORDS, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in old]) == f"You said: {WORDS}"
    response = await client.responses.create(model="gpt-r", input=WORDS)
    assert response.output_text == f"You said: {WORDS}"
    async with client.responses.stream(model="gpt-r", input=WORDS) as events:
        assert (await events.get_final_response()).output_text == f"You said: {WORDS}"
    embedded = await client.embeddings.create(model="echo", input=["a b", "c"], encoding_format="float")
    assert len(embedded.data) == 2
    assert (await client.images.generate(model="gpt-image", prompt=WORDS)).data
    heard = await client.audio.transcriptions.create(model="whisper", file=("a.wav", bytes(100_000)))
    assert heard.text == "100000 bytes for whisper"
    spoken = await client.audio.speech.create(model="tts", input=WORDS, voice="alloy")
    assert spoken.content == bytes(range(256))
    assert not (await client.moderations.create(model="mod", input=WORDS)).results[0].flagged
    azure = await rig.opened.enter_async_context(openai.AsyncAzureOpenAI(
        api_key=rig.secret, api_version="2024-10-21", azure_endpoint=rig.url("azure").rstrip("/"), max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    ))  # fmt: skip
    assert (await azure.chat.completions.create(**chat("gpt-east"))).choices
    calls = await rig.calls(10)
    found = [(call.kind, call.model, call.prompt_tokens, call.completion_tokens, call.is_streaming) for call in calls]
    prompt, answer = server.ledger[0].prompt_tokens, server.ledger[0].completion_tokens
    assert found == [
        ("chat", "echo", prompt, answer, False),
        ("completion", "gpt-old", 3, 5, True),
        ("chat", "gpt-r", 3, 5, False),
        ("chat", "gpt-r", 3, 5, True),
        ("embedding", "echo", 3, 0, False),
        ("image", "gpt-image", 7, 100, False),
        ("audio", "whisper", 14, 3, False),
        ("audio", "tts", None, None, False),
        ("moderation", "mod", None, None, False),
        ("chat", "gpt-east", prompt, answer, False),
    ]
    assert [call.is_estimated for call in calls] == [False] * 10
    assert [call.status_code for call in calls] == [200] * 10
    assert calls[-1].deployment == "east"
    assert server.requests[-1].headers["api-key"] == SECRET
    assert "authorization" not in server.requests[-1].headers


async def test_the_anthropic_client_streams_and_its_cached_tokens_count(rig: Rig) -> None:
    client = await rig.opened.enter_async_context(anthropic.AsyncAnthropic(
        api_key=rig.secret, base_url=rig.url("anthropic").rstrip("/"), max_retries=0,
        http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False),
    ))  # fmt: skip
    asked: Any = {"model": "claude", "max_tokens": 50, "messages": [{"role": "user", "content": WORDS}]}
    message = await client.messages.create(**asked)
    assert message.content[0].type == "text"
    async with client.messages.stream(**asked) as stream:
        assert await stream.get_final_text() == f"You said: {WORDS}"
    calls = await rig.calls(2)
    for call, streams in zip(calls, (False, True), strict=True):
        assert (call.prompt_tokens, call.completion_tokens, call.cached_tokens) == (3 + CACHED, 5, CACHED)
        assert (call.kind, call.model, call.finish_reason, call.is_streaming) == ("chat", "claude", "end_turn", streams)
    assert [recorded.headers["x-api-key"] for recorded in rig.model_server.requests] == [SECRET, SECRET]
    assert (await rig.payload(calls[1])).response == f"You said: {WORDS}"


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent", "streamGenerateContent?alt=sse"])
async def test_gemini_is_recorded_with_its_thought(rig: Rig, method: str) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": WORDS}]}]}
    url = rig.url("gemini", f"v1beta/models/gemini-x:{method}")
    key = {"key": "AIza-own"} if "?" not in method else None
    answer = await rig.client.post(url, json=body, headers={"x-goog-api-key": rig.secret}, params=key)
    assert answer.status_code == 200
    call, recorded = await rig.call(), rig.model_server.requests[0]
    assert (call.model, call.kind, call.is_streaming) == ("gemini-x", "chat", method != "generateContent")
    assert (call.prompt_tokens, call.completion_tokens, call.reasoning_tokens) == (3, 5 + THOUGHT, THOUGHT)
    assert (recorded.headers["x-goog-api-key"], "key" in recorded.query) == (SECRET, False)


async def test_bytes_go_through_unchanged_in_both_directions(rig: Rig) -> None:
    body = b' {"model" : "\\u0065cho",\t"n":1.0e0}\n'
    path = "mirror/ab;c=1/%C3%A9?x=%41&tags=t&y=a+b"
    raw = await raw_request(rig, "POST", f"/gateway/lab/openai/{path}", body, "application/json")
    seen = json.loads(raw.partition(b"\r\n\r\n")[2])
    assert seen["path"] == "/v1/mirror/ab;c=1/%C3%A9?x=%41&y=a+b"
    assert (seen["bytes"], seen["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert b"x-request-id: req-1\r\n" in raw
    # Compressed bytes stay compressed, and are read all the same.
    accepting = {"Authorization": f"Bearer {rig.secret}", "Accept-Encoding": "br, gzip"}
    async with rig.client.stream(
        "POST", rig.url("openai", "compressed/chat/completions"), json=chat(), headers=accepting
    ) as answer:
        passed = b"".join([piece async for piece in answer.aiter_raw()])
    assert passed[:2] == b"\x1f\x8b"
    assert answer.headers["content-encoding"] == "gzip"
    calls = await rig.calls(2)
    assert (calls[1].prompt_tokens, calls[1].completion_tokens) == (3, 3)


async def test_our_compression_leaves_an_answer_alone(rig: Rig) -> None:
    headers = {"Authorization": f"Bearer {rig.secret}", "Accept-Encoding": "gzip"}
    long = "word " * 1_000
    asked = {"model": "echo", "messages": [{"role": "user", "content": long}]}
    async with rig.client.stream("POST", rig.url("openai", "chat/completions"), json=asked, headers=headers) as answer:
        passed = b"".join([piece async for piece in answer.aiter_raw()])
    assert "content-encoding" not in answer.headers
    assert json.loads(passed)["choices"][0]["message"]["content"] == f"You said: {long}"
    assert int(answer.headers["content-length"]) == len(passed)


async def test_an_upload_is_streamed_and_bounded(rig: Rig) -> None:
    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield bytes(50_000)

    headers = {"Authorization": f"Bearer {rig.secret}", "Content-Type": "application/octet-stream"}
    url = rig.url("openai", "mirror")
    seen = (await rig.client.post(url, content=pieces(18), headers=headers)).json()
    assert (seen["bytes"], seen["headers"].get("transfer-encoding")) == (900_000, "chunked")
    for content in (pieces(30), bytes(1_500_000)):
        refused = await rig.client.post(url, content=content, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_large")
    large = await rig.post("chat/completions", chat() | {"padding": "x" * 1_100_000})
    assert (large.status_code, len(rig.model_server.requests)) == (413, 0)


@pytest.mark.parametrize("model", ["401", "429", "500", "404"])
async def test_an_error_of_the_provider_is_passed_back_and_recorded(rig: Rig, model: str) -> None:
    answer = await rig.post("chat/completions", chat(model))
    call = await rig.call()
    assert answer.status_code == call.status_code == int(model)
    assert answer.json()["error"]["code"] in (call.error_message or "")
    assert (call.error_kind is not None, call.prompt_tokens, call.total_cost) == (True, None, None)
    assert SECRET not in (call.error_message or "")


@pytest.mark.parametrize(("model", "kind"), [("error:2", "server"), ("cut:2", "cut")])
async def test_an_error_in_a_stream_is_recorded(rig: Rig, model: str, kind: str) -> None:
    with pytest.raises((openai.APIError, httpx.RemoteProtocolError, httpx.ReadError)):
        await text_of(await rig.openai().chat.completions.create(**chat(model, stream=True)))
    call = await rig.call()
    assert (call.error_kind, call.status_code) == (kind, 200)
    assert call.is_estimated
    assert (await rig.payload(call)).response == "word-1 word-2 "


async def test_a_page_is_no_page_of_ours_and_what_is_not_read_is_unknown(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await rig.post("page", {})
    assert answer.text == "<script>alert(1)</script>"
    assert "set-cookie" not in answer.headers
    assert "sandbox" in answer.headers["content-security-policy"]
    call = await rig.call()
    assert (call.kind, call.model, call.prompt_tokens, call.total_cost) == ("other", "unknown", None, None)
    assert "the copy of an answer was not read" in caplog.text
    await rig.post("chat/completions", chat("no-usage", stream=False))
    stream = await rig.openai().chat.completions.create(**chat("no-usage", stream=True))
    assert await text_of(stream)
    assert (await rig.calls(3))[-1].is_estimated


async def test_a_caller_that_goes_away_ends_the_call_of_the_provider(rig: Rig) -> None:
    stream = await rig.openai().chat.completions.create(**chat("slow:1000:0.01", stream=True))
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            break
    await stream.close()
    await asyncio.wait_for(rig.model_server.client_left(), 60)
    call = await rig.call()
    assert (call.finish_reason, call.status_code, call.error_kind) == (STOPPED, 200, None)
    assert call.is_estimated
    assert 0 < (call.completion_tokens or 0) < 1_000
    assert rig.model_server.requests[0].left_early


async def test_a_caller_that_does_not_wait_for_the_first_byte_ends_the_call(rig: Rig) -> None:
    asking = asyncio.create_task(rig.post("chat/completions", chat("hang")))
    await until(lambda: _asked(rig))
    asking.cancel()
    await asyncio.wait_for(rig.model_server.client_left(), 60)
    call = await rig.call()
    assert (call.finish_reason, call.status_code, call.prompt_tokens) == (STOPPED, None, None)


async def _asked(rig: Rig) -> bool:
    return bool(rig.model_server.requests)


async def test_a_slow_reader_slows_the_provider_down(rig: Rig) -> None:
    """Back-pressure: what a caller does not read is not gathered in this process."""
    asked = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "word " * 150_000}]}
    async with rig.client.stream(
        "POST", rig.url("openai", "chat/completions"), json=asked, headers={"Authorization": f"Bearer {rig.secret}"}
    ) as answer:
        first = await anext(answer.aiter_raw(1))
        assert first
        sent, before = rig.model_server.ledger, -1
        while before != sent[0].completion_tokens:
            before = sent[0].completion_tokens
            await asyncio.sleep(0.3)
        assert before < 150_000
    await until(lambda: _left(rig))


async def _left(rig: Rig) -> bool:
    return rig.model_server.requests[0].left_early


@pytest.mark.parametrize(
    ("address", "status", "kind"),
    [
        ("/gateway/lab/openai/../../admin", 400, "path_refused"),
        ("/gateway/lab/openai/%2e%2e/%2e%2e/_requests", 400, "path_refused"),
        ("/gateway/lab/openai/..%2f..%2f_requests", 400, "path_refused"),
        ("/gateway/lab/openai//evil.example/x", 400, "path_refused"),
        ("/gateway/lab/openai/http://evil.example/x", 400, "path_refused"),
        ("/gateway/lab/openai/a%00b", 400, "path_refused"),
        ("/gateway/lab/openai?target_path=../_requests", 400, "path_refused"),
        ("/gateway/lab/theirs/models", 404, "provider_not_found"),
        ("/gateway/other/theirs/models", 404, "project_not_found"),
        ("/gateway/nowhere/openai/models", 404, "project_not_found"),
        ("/gateway/lab%2Fopenai/models", 404, "project_not_found"),
        ("/gateway/lab", 404, "project_not_found"),
        ("/gateway/lab/incomplete/models", 503, "provider_incomplete"),
        ("/gateway/lab/unset/models", 503, "provider_key_missing"),
        ("/gateway/lab/away/models", 502, "unreachable"),
        ("/gateway/lab/openai/redirect", 502, "redirected"),
    ],
)
async def test_what_leads_elsewhere_is_refused(rig: Rig, address: str, status: int, kind: str) -> None:
    raw = await raw_request(rig, "GET", address)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode()
    assert json.loads(body)["error"]["code"] == kind
    assert not rig.model_server.requests
    assert b"location" not in head.lower()
    asked = (await rig.layer.list_calls(CallFilter())).rows
    assert bool(asked) == (status == 502), "only what was asked for is a call"


async def test_without_a_key_for_the_gateway_nothing_is_asked(rig: Rig, browser_of: Browser) -> None:
    _, reader = await rig.layer.create_api_key("reader", ["threads:read"], user="uma", project="lab")
    revoked, gone = await rig.layer.create_api_key("gone", ["gateway"], user="uma", project="lab")
    await rig.layer.revoke_api_key(revoked.id)
    _, other = await rig.layer.create_api_key("other", ["gateway"], user="uma")
    for secret, status in (("", 401), ("tk_wrong", 401), (gone, 401), (reader, 403), (other, 404)):
        headers = {"x-api-key": secret} if secret else {}
        answer = await rig.client.post(rig.url("openai", "chat/completions"), json=chat(), headers=headers)
        assert answer.status_code == status
        assert answer.json()["error"]["message"]
    # A session of the browser is no key.
    ada = await browser_of("admin")
    assert (await ada.post(rig.url("openai", "chat/completions"), json=chat())).status_code == 401
    assert not rig.model_server.requests


async def test_the_callers_own_key_goes_only_where_the_project_says_so(rig: Rig) -> None:
    both = {"Authorization": "Bearer sk-own", "x-api-key": rig.secret}
    for provider, passed in (("own", "Bearer sk-own"), ("openai", f"Bearer {SECRET}")):
        await rig.client.post(rig.url(provider, "chat/completions"), json=chat(), headers=both)
        recorded = rig.model_server.requests[-1]
        assert recorded.headers["authorization"] == passed
        assert rig.secret not in str(recorded.headers)
    stored = [str(await rig.layer.get_call(call.id)) for call in await rig.calls(2)]
    assert not [text for text in stored if "sk-own" in text or SECRET in text or rig.secret in text]


async def test_a_key_may_be_for_some_models_and_some_tokens_only(rig: Rig) -> None:
    _, some = await rig.layer.create_api_key(
        "some", ["gateway"], user="uma", project="lab", models=["echo"], tokens_per_minute=5_000
    )
    client = rig.openai(secret=some)
    assert (await client.chat.completions.create(**chat())).choices
    with pytest.raises(openai.PermissionDeniedError, match="echo"):
        await client.chat.completions.create(**chat("gpt-x"))
    with pytest.raises(openai.RateLimitError, match="tokens a minute"):
        for _ in range(3):
            await client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "word " * 3_000}])


async def test_the_budget_is_reserved_before_and_settled_after(rig: Rig, people: dict[str, User]) -> None:
    limit = Limit(new_id(), "project", rig.project.id, "day", "tokens", Decimal(2_000))
    await rig.layer.put_limit(limit)
    client = rig.openai()
    stream = await client.chat.completions.create(**chat("slow:200:0.02", stream=True, max_tokens=1_500))
    async for _ in stream:
        break
    (standing,) = await rig.layer.limit_standings(None, rig.project.id, zone="UTC")
    assert standing.in_flight > 1_500
    with pytest.raises(openai.RateLimitError, match=r"asks for more|in progress"):
        await client.chat.completions.create(**chat(max_tokens=1_500))
    assert await text_of(stream)
    call = await rig.call()
    (standing,) = await rig.layer.limit_standings(None, rig.project.id, zone="UTC")
    assert standing.used == (call.prompt_tokens or 0) + (call.completion_tokens or 0)
    await until(lambda: _released(rig))


async def _released(rig: Rig) -> bool:
    (standing,) = await rig.layer.limit_standings(None, rig.project.id, zone="UTC")
    return standing.in_flight == 0


async def test_a_model_version_names_the_model_that_is_billed(rig: Rig) -> None:
    await rig.layer.add_price(Price(new_id(), "gpt-dear", "2020-01-01", Decimal(100), Decimal(100)))
    client = rig.openai(default_query={"ai_model_version": "gpt-dear"})
    await client.chat.completions.create(**chat())
    call = await rig.call()
    assert (call.model, call.answered_by) == ("echo", "gpt-dear")
    assert call.total_cost


async def test_a_model_version_does_not_lower_the_price_of_a_model_that_has_one(rig: Rig) -> None:
    await rig.layer.add_price(Price(new_id(), "echo", "2020-01-01", Decimal(100), Decimal(100)))
    await rig.layer.add_price(Price(new_id(), "gpt-cheap", "2020-01-01", Decimal(1), Decimal(1)))
    client = rig.openai(default_query={"ai_model_version": "gpt-cheap"})
    await client.chat.completions.create(**chat())
    call = await rig.call()
    assert call.answered_by != "gpt-cheap"
    tokens = (call.prompt_tokens or 0) + (call.completion_tokens or 0)
    assert call.total_cost == Decimal(tokens) * 100 / 1_000_000


async def test_a_key_of_ours_in_the_query_is_not_passed_on(rig: Rig) -> None:
    answer = await rig.client.post(
        f"{rig.url('own', 'chat/completions')}?key={rig.secret}&a=1",
        json=chat(),
        headers={"x-api-key": rig.secret, "authorization": f"Token {rig.secret}"},
    )
    assert answer.status_code in (200, 401)
    assert all(rig.secret not in str((one.query, one.headers)) for one in rig.model_server.requests)


async def test_words_of_a_caller_do_not_stop_the_question_for_usage(rig: Rig) -> None:
    """A refusal that has `include_usage` in it because the caller sent that word proves nothing."""
    model = "refuse:include_usage"
    refused = await rig.post("chat/completions", chat(model, stream=True, include_usage="yes"))
    assert refused.status_code == 400
    async for _ in await rig.openai().chat.completions.create(**chat(model, stream=True)):
        pass
    _, call = await rig.calls(2)
    assert (call.prompt_tokens is not None, call.is_estimated) == (True, False)


async def test_an_answer_that_is_read_again_uses_no_tokens(rig: Rig) -> None:
    await rig.client.get(rig.url("openai", "models"), headers={"x-api-key": rig.secret})
    call = await rig.call()
    assert (call.kind, call.prompt_tokens, call.total_cost) == ("other", None, None)


async def test_a_call_appears_among_the_usage_with_tags_and_cost(rig: Rig, browser_of: Browser) -> None:
    await rig.layer.add_price(Price(new_id(), "echo", "2020-01-01", Decimal(2), Decimal(10)))
    await rig.openai(default_query={"tags": "night"}).chat.completions.create(**chat())
    await rig.call()
    page = await (await browser_of("admin")).get("/usage/calls?tag=night")
    assert page.status_code == 200
    assert "The lab" in page.text or "echo" in page.text
    assert "night" in page.text
    assert (await (await browser_of("admin")).get("/usage/calls?tag=day")).text.count("echo") < page.text.count("echo")


async def test_the_example_of_the_documentation_runs(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text(encoding="utf-8")
    example = page.split("```python\n")[1].split("```")[0]
    assert len(example.split("\n\n")) == 2
    assert len([line for line in example.splitlines() if line]) == 5
    for shown, real in (("https://chat.example.com", str(rig.client.base_url)), ("tk_…", rig.secret)):
        assert shown in example
        example = example.replace(shown, real)
    monkeypatch.setenv("NO_PROXY", "*")
    variables: dict[str, Any] = {}
    await asyncio.to_thread(exec, example, variables)
    variables["client"].close()
    assert capsys.readouterr().out == "You said: Hello\n"
    call = await rig.call()
    assert (call.model, call.tags) == ("gpt-4o-mini", ("night", "batch"))


async def raw_request(rig: Rig, method: str, address: str, body: bytes = b"", kind: str = "text/plain") -> bytes:
    """Sends these bytes and returns those that come back: no client changes the address."""
    place = urlsplit(str(rig.client.base_url))
    head = f"{method} {address} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rig.secret}\r\nConnection: close\r\n"
    if body:
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    reader, writer = await asyncio.open_connection(place.hostname, place.port, family=socket.AF_INET)
    writer.write(f"{head}\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer
