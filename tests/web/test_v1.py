"""`/v1` over real HTTP with the official clients, before the scripted server."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import httpx
import openai
import pytest

from datalayer import Limit, Project, Provider
from datalayer.records.usage import STOPPED, Price
from tests.support.model_server import ModelServer
from tests.support.records import new_id
from tests.support.v1 import SECRET, V1Rig, scripted
from threadkeeper.gateway.v1.parts import V1Parts
from threadkeeper.gateway.v1.servers import ModelServer as Server
from threadkeeper.gateway.v1.servers import ModelServers

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
WORDS = "alpha beta gamma"
MODELS = (
    "echo",
    "gpt-4o-mini",
    "context-echo",
    "slow:2000:0.01",
    "401",
    "429:1:7",
    "html",
    "window:5",
    "quota",
    "gpt-r",
    "500:1",
)
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def v1_parts(model_server: ModelServer, request: pytest.FixtureRequest) -> V1Parts:
    if getattr(request, "param", None) == "azure":
        azure = Server(f"{model_server.root}/openai", MODELS, SECRET, "2024-10-21")
        return V1Parts(ModelServers(azure, replace(azure, models=("words",))))
    return V1Parts(scripted(model_server, *MODELS))


def chat(model: str = "echo", text: str = WORDS, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


async def text_of(stream: Any) -> str:
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def test_the_openai_client_asks_a_plain_model(v1: V1Rig) -> None:
    await v1.layer.add_price(Price(new_id(), "echo", "2020-01-01", Decimal(2), Decimal(10)))
    project = await v1.layer.put_project(Project(new_id(), "The lab", "lab"))
    client = await v1.client_of(project="lab")
    answer = await client.chat.completions.create(**chat(extra_headers={"x-threadkeeper-tags": "night"}))
    assert answer.choices[0].message.content == f"You said: {WORDS}"
    stream = await client.chat.completions.create(**chat(stream=True))
    assert await text_of(stream) == f"You said: {WORDS}"
    asked: Any = {
        "role": "user",
        "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
    }
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    more: Any = {"tools": [tool], "n": 2, "logprobs": True, "response_format": {"type": "json_object"}}
    await client.chat.completions.create(model="echo", messages=[asked], extra_body={"of_tomorrow": [1]}, **more)
    embedded = await client.embeddings.create(model="words", input=["a b", "c"], encoding_format="float")
    assert len(embedded.data) == 2
    response = await client.responses.create(model="gpt-r", input=WORDS)
    assert response.output_text == f"You said: {WORDS}"
    async with client.responses.stream(model="gpt-r", input=WORDS) as events:
        assert (await events.get_final_response()).output_text == f"You said: {WORDS}"

    calls = await v1.calls(6)
    assert {(call.user_id, call.project_id) for call in calls} == {(v1.people["user"].id, project.id)}
    assert [call.kind for call in calls] == ["chat", "chat", "chat", "embedding", "chat", "chat"]
    assert (calls[0].tags, calls[0].provider, calls[0].deployment) == (("night",), "127.0.0.1", None)
    for call, billed in zip(calls, v1.model_server.ledger, strict=True):
        assert (call.model, call.status_code, call.error_kind) == (billed.model, 200, None)
        assert (call.prompt_tokens, call.completion_tokens) == (billed.prompt_tokens, billed.completion_tokens)
    first = v1.model_server.ledger[0]
    assert calls[0].total_cost == (2 * first.prompt_tokens + 10 * first.completion_tokens) / Decimal(1_000_000)
    sent = v1.model_server.requests[2]
    assert sent.body == {"model": "echo", "messages": [asked], "of_tomorrow": [1], **more}
    assert all(one.headers["authorization"] == f"Bearer {SECRET}" for one in v1.model_server.requests)


@pytest.mark.parametrize("v1_parts", [V1Parts()], ids=["demo"])
async def test_without_a_server_the_demo_answers(v1: V1Rig) -> None:
    client = await v1.client_of()
    assert [one.id async for one in client.models.list()] == ["demo"]
    answer = await client.chat.completions.create(**chat("demo"))
    stream = await client.chat.completions.create(**chat("demo", stream=True))
    assert await text_of(stream) == answer.choices[0].message.content
    assert "demo" in (answer.choices[0].message.content or "")
    async with client.responses.stream(model="demo", input=WORDS) as events:
        assert "demo" in (await events.get_final_response()).output_text
    with pytest.raises(openai.NotFoundError):
        await client.embeddings.create(model="demo", input="x")


async def test_the_models_of_a_key_are_listed(v1: V1Rig) -> None:
    client = await v1.client_of()
    assert [one.id async for one in client.models.list()] == [*MODELS, "words"]
    assert (await client.models.retrieve("slow:2000:0.01")).id == "slow:2000:0.01"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("no-such")
    bounded = await v1.client_of(models=["echo", "words"])
    assert [one.id async for one in bounded.models.list()] == ["echo", "words"]


async def test_errors_are_those_of_the_client(v1: V1Rig) -> None:
    client = await v1.client_of(models=[*MODELS, "no-such"])
    create = client.chat.completions.create
    with pytest.raises(openai.NotFoundError) as missing:
        await create(**chat("no-such"))
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.PermissionDeniedError) as denied:
        await client.embeddings.create(model="words", input="x")
    assert denied.value.code == "model_not_allowed"
    bounded = await v1.client_of(models=["echo"])
    with pytest.raises(openai.PermissionDeniedError, match="words"):
        await bounded.chat.completions.create(**chat("echo"), extra_body={"models": ["echo", "words"]})
    with pytest.raises(openai.NotFoundError, match="no-such"):
        await create(**chat("echo"), extra_body={"fallbacks": ["no-such"]})
    with pytest.raises(openai.BadRequestError, match="other letters"):
        await create(**chat("echo"), extra_body={"Model": "gpt-dear"})
    with pytest.raises(openai.BadRequestError) as nameless:
        await client.post("/chat/completions", cast_to=httpx.Response, body={"messages": []})
    assert nameless.value.param == "model"
    with pytest.raises(openai.BadRequestError) as long:
        await create(**chat("window:5", "word " * 20))
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.AuthenticationError) as unknown:
        await v1.client_with("tk_" + "x" * 40).chat.completions.create(**chat())
    assert unknown.value.code == "invalid_api_key"
    other = await v1.client_of("threads:read")
    with pytest.raises(openai.PermissionDeniedError):
        await other.chat.completions.create(**chat())
    with pytest.raises(openai.RateLimitError) as slow:
        await create(**chat("429:1:7"))
    assert slow.value.response.headers["retry-after"] == "7"
    # That the server refuses the key of the operator is no fault of the caller.
    with pytest.raises(openai.InternalServerError) as refused:
        await create(**chat("401"))
    assert (refused.value.status_code, refused.value.code) == (502, "model_server_refused")
    assert SECRET[:12] not in refused.value.response.text
    with pytest.raises(openai.InternalServerError) as failed:
        await create(**chat("500:1"))
    assert failed.value.code == "server_error"
    sent = len(v1.model_server.requests)
    for path, body, param in (
        ("chat/completions", {}, "messages"),
        ("chat/completions", {"messages": "Hi"}, "messages"),
        ("chat/completions", {"messages": [5]}, "messages"),
        ("responses", {"input": 5}, "input"),
        ("completions", {}, "prompt"),
        ("embeddings", {"input": {}}, "input"),
    ):
        with pytest.raises(openai.BadRequestError) as nothing:
            await client.post(f"/{path}", cast_to=httpx.Response, body={"model": "echo", **body})
        assert (nothing.value.code, nothing.value.param) == ("invalid_messages", param)
    with pytest.raises(openai.BadRequestError) as later:
        await client.responses.create(model="echo", input="Hi", background=True)
    assert (later.value.code, later.value.param) == ("unsupported_parameter", "background")
    assert len(v1.model_server.requests) == sent
    large = await client.post("/chat/completions", cast_to=httpx.Response, body=chat(text="x" * 100))
    assert large.status_code == 200
    with pytest.raises(openai.APIStatusError) as too_large:
        await create(**chat(text="x" * 1_100_000))
    assert (too_large.value.status_code, too_large.value.code) == (413, "too_large")
    with pytest.raises(openai.NotFoundError):
        await client.post("/no/such", cast_to=httpx.Response, body={})
    bare = await v1.client.get("/v1", headers={"Authorization": f"Bearer {client.api_key}"})
    assert (bare.status_code, bare.json()["error"]["code"]) == (404, "unknown_url")
    read = await v1.client.get("/v1/responses", headers={"Authorization": f"Bearer {client.api_key}"})
    assert (read.status_code, read.headers["allow"]) == (405, "POST")
    calls = await v1.calls(5)
    assert [(call.model, call.status_code) for call in calls if call.error_kind] == [
        ("window:5", 400), ("429:1:7", 429), ("401", 401), ("500:1", 500),
    ]  # fmt: skip


async def test_rates_and_limits_refuse_before_anything_is_sent(v1: V1Rig) -> None:
    # Limits and prices are read again after seconds, so these are there from the begin.
    await v1.layer.add_price(Price(new_id(), "echo", "2020-01-01", Decimal(200_000), Decimal(1_000_000)))
    poor_key, secret = await v1.layer.create_api_key("poor", ["gateway"], user="uma")
    await v1.layer.put_limit(Limit(new_id(), "key", poor_key.id, "day", "dollars", Decimal(1)))
    client = await v1.client_of(requests_per_minute=1)
    await client.chat.completions.create(**chat())
    with pytest.raises(openai.RateLimitError) as often:
        await client.chat.completions.create(**chat())
    assert often.value.code == "rate_limit_exceeded"
    told = often.value.response.headers
    assert (told["ratelimit-policy"], told["ratelimit"].partition(";t=")[0]) == (
        '"requests";q=1;w=60',
        '"requests";r=0',
    )
    assert int(often.value.response.headers["retry-after"]) > 0
    few = await v1.client_of(tokens_per_minute=5)
    await few.chat.completions.create(**chat())
    with pytest.raises(openai.RateLimitError) as used:
        await few.chat.completions.create(**chat())
    assert used.value.code == "rate_limit_exceeded"
    await v1.calls(2)
    sent = len(v1.model_server.requests)
    poor = v1.client_with(secret)
    with pytest.raises(openai.PermissionDeniedError) as unpriced:
        await poor.chat.completions.create(**chat("context-echo"))
    with pytest.raises(openai.RateLimitError) as over:
        await poor.chat.completions.create(**chat(text="word " * 30))
    for refused, code in ((unpriced, "unpriced"), (over, "insufficient_quota")):
        assert (refused.value.code, refused.value.response.headers["x-should-retry"]) == (code, "false")
    assert len(v1.model_server.requests) == sent


@pytest.mark.parametrize("v1_parts", ["azure"], indirect=True)
async def test_deployments_of_azure_are_models(v1: V1Rig) -> None:
    client = await v1.client_of(requests_per_minute=60)
    raw = await client.chat.completions.with_raw_response.create(**chat("gpt-4o-mini"))
    answer: Any = raw.parse()
    assert (answer.choices[0].message.content, answer.model) == (f"You said: {WORDS}", "gpt-4o-mini")
    assert raw.headers["ratelimit"].startswith('"requests";r=59;')
    assert await text_of(await client.chat.completions.create(**chat("echo", stream=True))) == f"You said: {WORDS}"
    assert len((await client.embeddings.create(model="words", input="a b", encoding_format="float")).data) == 1
    paths = ("gpt-4o-mini/chat/completions", "echo/chat/completions", "words/embeddings")
    sent = v1.model_server.requests
    assert [one.path for one in sent] == [f"/openai/deployments/{path}" for path in paths]
    assert {(one.query["api-version"], one.headers["api-key"], "authorization" in one.headers) for one in sent} == {
        ("2024-10-21", SECRET, False)
    }
    assert [call.deployment for call in await v1.calls(3)] == ["gpt-4o-mini", "echo", "words"]


async def test_a_stream_that_its_caller_leaves_is_closed_and_recorded(v1: V1Rig) -> None:
    client = await v1.client_of()
    stream: Any = await client.chat.completions.create(**chat("slow:2000:0.01", stream=True))
    async for _ in stream:
        break
    await stream.close()
    await asyncio.wait_for(v1.model_server.client_left(), 60)
    (call,) = await v1.calls(1)
    assert (call.finish_reason, call.status_code, call.is_estimated) == (STOPPED, 200, True)


async def test_the_client_of_anthropic_reaches_a_provider_of_its_projects(
    v1: V1Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    import anthropic  # noqa: PLC0415  slow, and few tests need it

    monkeypatch.setenv("LAB_KEY", SECRET)
    provider = Provider("Claude", "anthropic", v1.model_server.root, secret="LAB_KEY")
    project = await v1.layer.put_project(Project(new_id(), "The lab", "lab", providers=(provider,)))
    secret = await v1.secret(project="lab")
    options: Any = {"max_retries": 0, "http_client": anthropic.DefaultAsyncHttpxClient(trust_env=False)}
    client = anthropic.AsyncAnthropic(api_key=secret, base_url=f"{v1.client.base_url}", **options)
    wrong = client.with_options(api_key="tk_" + "x" * 40)
    asked: Any = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": WORDS}]}
    with pytest.raises(anthropic.AuthenticationError) as unknown:
        await wrong.messages.create(**asked)
    assert unknown.value.body == {"type": "error", "error": {"type": "authentication_error", "message": ANY}}
    elsewhere = client.with_options(api_key=await v1.secret())
    with pytest.raises(anthropic.NotFoundError) as missing:
        await elsewhere.messages.create(**asked)
    assert "projects set PROJECT --provider" in missing.value.message
    assert (await client.messages.count_tokens(model="claude", messages=asked["messages"])).input_tokens == 3
    message = await client.messages.create(**asked)
    assert [block.text for block in message.content if block.type == "text"] == [f"You said: {WORDS}"]
    async with client.messages.stream(**asked) as stream:
        assert await stream.get_final_text() == f"You said: {WORDS}"
    sent = v1.model_server.requests[-1].headers
    assert (sent["x-api-key"], "authorization" in sent) == (SECRET, False)
    *_, call = await v1.calls(3)
    billed = v1.model_server.ledger[-1]
    assert (call.kind, call.project_id, call.prompt_tokens) == ("chat", project.id, billed.prompt_tokens)
    assert call.completion_tokens == billed.completion_tokens
    bounded = client.with_options(api_key=await v1.secret(project="lab", models=["other"]))
    with pytest.raises(anthropic.PermissionDeniedError):
        await bounded.messages.create(**asked)
    await client.close()


@pytest.mark.parametrize(
    ("name", "address"), [("docs/openai.md", "https://chat.example.com"), ("README.md", "http://127.0.0.1:8000")]
)
async def test_the_examples_of_the_documentation_run(
    v1: V1Rig, name: str, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / name).read_text(encoding="utf-8")
    example = page.split("```python\n")[1].split("```")[0]
    assert len([line for line in example.splitlines() if line]) == 5
    for shown, real in ((address, str(v1.client.base_url)), ("tk_…", await v1.secret())):
        assert shown in example
        example = example.replace(shown, real)
    monkeypatch.setenv("NO_PROXY", "*")
    variables: dict[str, Any] = {}
    await asyncio.to_thread(exec, example, variables)
    variables["client"].close()
    assert capsys.readouterr().out == "You said: Hello\n"
