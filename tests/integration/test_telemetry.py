"""Traces of answers, as a collector gets them from the application."""

import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from datalayer import AssistantAccess, AssistantSettings, CallFilter, Project, Provider
from tests.conftest import StartServer
from tests.support.chat_client import ChatClient
from tests.support.collector import CLIENT, INTERNAL, SERVER, Collected, Collector
from tests.support.knowledge import EMBEDDING, train_files
from tests.support.model_server import API_KEY
from tests.support.patience import until
from tests.support.plain_http import PLAIN_HTTP
from tests.support.records import new_id
from tests.support.shared_server import Chat

pytestmark = pytest.mark.slow

SECRET = "sk-of-the-lab-0123456789"
TRACE = {"TELEMETRY": "true", "OTEL_BSP_SCHEDULE_DELAY": "100"}
# The collector that is not started yet has no address.
SETTINGS = {**TRACE, **EMBEDDING, "OPENAI_MODELS": "echo,slow:500:0.02,500,think:think", "LAB_KEY": SECRET}
QUESTION = "when does the harbour open in the morning"
CALLER = "b7ad6b7169203331"


@pytest.fixture(scope="module", autouse=True)
def collector() -> Iterator[Collector]:
    with Collector() as running:
        SETTINGS["OTEL_EXPORTER_OTLP_ENDPOINT"] = running.url
        yield running


@pytest.fixture
async def chat(chat: Chat) -> Chat:
    await chat.add_user("alice")
    return chat


async def seen(found: Callable[[], Any]) -> Any:
    """What is found, when it is."""
    await until(lambda: bool(found()))
    return found()


async def traced(collector: Collector, thread_id: str | None, *names: str) -> list[Collected]:
    """The spans of the traces of a thread, in the order in which they began, when they have these names."""

    assert thread_id is not None

    def found() -> list[Collected]:
        return collector.of_thread(thread_id)

    await until(lambda: {*names} <= {one.name for one in found()})
    return found()


def one(spans: list[Collected], name: str) -> Collected:
    (found,) = [span for span in spans if span.name == name]
    return found


async def test_an_answer_of_the_chat_is_a_trace_with_its_calls(chat: Chat, collector: Collector) -> None:
    async with chat.client("alice") as client:
        assert await client.ask(QUESTION) == f"You said: {QUESTION}"
        thread_id = client.thread_id
    spans = await traced(collector, thread_id, "invoke_agent", "chat echo")
    answer = one(spans, "invoke_agent")
    assert (answer.kind, answer.parent_id, answer.has_failed) == (INTERNAL, "", False)
    assert answer.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert answer.attributes["gen_ai.conversation.id"] == thread_id
    call = next(span for span in spans if span.attributes.get("threadkeeper.call.kind") == "chat")
    assert (call.name, call.kind, call.parent_id, call.has_failed) == ("chat echo", CLIENT, answer.span_id, False)
    assert answer.begins <= call.begins <= call.ends
    assert {name: call.resource[name] for name in ("service.name", "telemetry.sdk.language")} == {
        "service.name": "threadkeeper",
        "telemetry.sdk.language": "python",
    }
    async with chat.layer() as layer:
        rows = (await layer.list_calls(CallFilter(kinds=("chat",)))).rows
        row = next(row.call for row in rows if row.call.thread_id == thread_id)
    said = call.attributes
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.provider.name"] == row.provider
    assert said["server.port"] == chat.model_server.port
    assert (said["gen_ai.request.model"], said["gen_ai.response.model"]) == ("echo", "echo")
    assert said["gen_ai.response.finish_reasons"] == ["stop"]
    assert said["gen_ai.response.id"].startswith("chatcmpl")
    assert said["gen_ai.usage.input_tokens"] == row.prompt_tokens
    assert said["gen_ai.usage.output_tokens"] == row.completion_tokens
    assert said["gen_ai.request.stream"] is True
    assert said["gen_ai.response.time_to_first_chunk"] == row.first_token_seconds
    assert (said["threadkeeper.call.id"], said["http.response.status_code"]) == (row.id, 200)
    assert call.ends - call.begins == pytest.approx((row.seconds or 0) * 1e9, abs=1e6)


async def test_a_failed_answer_says_why_and_repeats_no_words_of_the_server(chat: Chat, collector: Collector) -> None:
    async with chat.client("alice") as client:
        await client.ask(QUESTION, modes={"model": "500"})
        thread_id = client.thread_id
    spans = await traced(collector, thread_id, "invoke_agent", "chat 500")
    answer, call = one(spans, "invoke_agent"), one(spans, "chat 500")
    assert (call.attributes["error.type"], call.attributes["http.response.status_code"]) == ("server", 500)
    assert (answer.attributes["error.type"], call.parent_id) == ("server", answer.span_id)
    assert (call.has_failed, answer.has_failed) == (True, True)
    assert (call.error, answer.error) == ("", "")
    assert "gen_ai.response.finish_reasons" not in call.attributes


async def test_a_stopped_answer_is_no_failure(chat: Chat, collector: Collector) -> None:
    async with chat.client("alice") as client:
        await client.send(QUESTION, modes={"model": "slow:500:0.02"})
        await client.until(lambda: "word-2" in client.answer)
        await client.emit("stop")
        thread_id = await seen(lambda: client.thread_id)
        spans = await traced(collector, thread_id, "invoke_agent", "chat slow:500:0.02")
    answer, call = one(spans, "invoke_agent"), one(spans, "chat slow:500:0.02")
    assert (answer.has_failed, call.has_failed) == (False, False)
    assert (answer.attributes["threadkeeper.stopped"], call.attributes["threadkeeper.stopped"]) == (True, True)
    # Nobody reported them, so they are counted.
    assert call.attributes["threadkeeper.usage.estimated"] is True
    assert call.attributes["gen_ai.usage.output_tokens"] > 0


async def test_knowledge_is_searched_inside_of_the_answer(chat: Chat, collector: Collector) -> None:
    async with chat.layer() as layer:
        settings = AssistantSettings(name=f"Harbour {chat.name('x')}", score_threshold=0.1)
        access = AssistantAccess("users", users=(chat.name("alice"),))
        assistant = await layer.create_assistant(settings, access=access)
        files = {"harbour.txt": "The harbour opens at six in the morning."}
        await train_files(layer, assistant.slug, files, chat.model_server, "words")
    async with chat.client("alice", profile=assistant.slug) as client:
        await client.ask(QUESTION)
        thread_id = client.thread_id
    name = f"retrieval {assistant.slug}"
    spans = await traced(collector, thread_id, f"invoke_agent {assistant.slug}", name, "embeddings words")
    answer, search, embedding = (
        one(spans, f"invoke_agent {assistant.slug}"),
        one(spans, name),
        one(spans, "embeddings words"),
    )
    assert (answer.attributes["gen_ai.agent.name"], answer.attributes["gen_ai.agent.version"]) == (assistant.slug, "1")
    assert (search.kind, search.parent_id, search.attributes["threadkeeper.passages"]) == (CLIENT, answer.span_id, 1)
    assert search.attributes["gen_ai.operation.name"] == "retrieval"
    assert (embedding.parent_id, embedding.attributes["gen_ai.operation.name"]) == (search.span_id, "embeddings")
    assert embedding.attributes["gen_ai.usage.input_tokens"] > 0


@asynccontextmanager
async def program(chat: Chat, trace_id: str, *scopes: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A program with a key of alice, in this trace."""
    async with chat.layer() as layer:
        provider = Provider("OpenAI", "openai", chat.model_server.base_url, secret="LAB_KEY")
        slug = chat.name("lab")
        await layer.put_project(Project(new_id(), slug, slug, providers=(provider,)))
        secret = (await layer.create_api_key("tests", scopes, user=chat.name("alice"), project=slug))[1]
    headers = {
        "Authorization": f"Bearer {secret}",
        "traceparent": f"00-{trace_id}-{CALLER}-01",
        "tracestate": "vendor=1",
    }
    async with httpx.AsyncClient(base_url=chat.base_url, headers=headers, timeout=60, **PLAIN_HTTP) as client:
        yield client


async def test_the_gateway_goes_on_with_the_trace_of_its_caller(chat: Chat, collector: Collector) -> None:
    trace_id = secrets.token_hex(16)
    async with program(chat, trace_id, "gateway") as client:
        body = {"model": "echo", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 50}
        path = f"/gateway/{chat.name('lab')}/openai/chat/completions"
        answered = (await client.post(path, json=body)).raise_for_status().json()
        plain = {name: value for name, value in client.headers.items() if not name.startswith("trace")}
        async with httpx.AsyncClient(base_url=chat.base_url, headers=plain, timeout=60, **PLAIN_HTTP) as other:
            (await other.post(path, json=body)).raise_for_status()
    asked, without = chat.model_server.requests
    # The provider gets what the caller sent, and no trace of ours.
    assert (asked.headers["traceparent"], asked.headers["tracestate"]) == (f"00-{trace_id}-{CALLER}-01", "vendor=1")
    assert "traceparent" not in {name.lower() for name in without.headers}

    def requests() -> list[Collected]:
        return [span for span in collector.spans if span.attributes.get("url.path") == path]

    await until(lambda: len(requests()) == 2)
    (request,) = [span for span in requests() if span.trace_id == trace_id]
    (call,) = await seen(lambda: [span for span in collector.spans if span.parent_id == request.span_id])
    assert call.attributes["gen_ai.response.id"] == answered["id"]
    assert (call.trace_id, call.name, call.kind) == (trace_id, "chat echo", CLIENT)
    assert call.attributes["gen_ai.request.max_tokens"] == 50
    assert call.attributes["gen_ai.usage.input_tokens"] > 0
    assert (request.trace_id, request.parent_id, request.kind) == (trace_id, CALLER, SERVER)
    assert (request.name, request.attributes["http.response.status_code"]) == ("POST /gateway/{path}", 200)


@pytest.mark.parametrize("is_later", [False, True], ids=["at once", "in the background"])
async def test_a_question_of_a_program_is_answered_in_its_trace(
    chat: Chat, collector: Collector, *, is_later: bool
) -> None:
    trace_id = secrets.token_hex(16)
    async with program(chat, trace_id, "threads:read", "threads:write") as client:
        made = (await client.post("/api/v1/threads", json={"name": "From a program"})).raise_for_status().json()
        path = f"/api/v1/threads/{made['id']}/messages"
        body = {"content": QUESTION, "background": is_later}
        answered = (await client.post(path, json=body)).raise_for_status().json()
    spans = await traced(collector, made["id"], "invoke_agent", "chat echo")
    answer = one(spans, "invoke_agent")
    await until(lambda: any(span.span_id == answer.parent_id for span in collector.spans))
    request = next(span for span in collector.spans if span.span_id == answer.parent_id)
    assert (answer.trace_id, request.trace_id, request.kind) == (trace_id, trace_id, SERVER)
    assert request.name == "POST /api/v1/threads/{thread_id}/messages"
    assert request.attributes["http.route"] == "/api/v1/threads/{thread_id}/messages"
    assert next(span for span in spans if span.name == "chat echo").parent_id == answer.span_id
    if is_later:
        async with chat.layer() as layer:
            job = await layer.get_job(answered["id"])
        assert job is not None
        assert job.arguments["traceparent"] == f"00-{trace_id}-{request.span_id}-01"


async def test_a_refused_request_has_a_span(chat: Chat, collector: Collector) -> None:
    async with program(chat, secrets.token_hex(16), "threads:read") as client:
        path = f"/api/v1/threads/{new_id()}"
        assert (await client.get(path)).status_code == 404
    request = (await seen(lambda: [span for span in collector.spans if span.attributes.get("url.path") == path]))[0]
    assert (request.attributes["http.response.status_code"], request.has_failed) == (404, False)


async def test_no_span_has_texts_of_people(chat: Chat, collector: Collector) -> None:
    async with chat.client("alice") as client:
        for model in ("echo", "think:think", "500"):
            await client.ask(f"zebra {model}", modes={"model": model})
        thread_id = client.thread_id
    async with program(chat, secrets.token_hex(16), "gateway", "threads:read") as program_client:
        body = {"model": "echo", "messages": [{"role": "user", "content": "zebra"}]}
        path = f"/gateway/{chat.name('lab')}/openai/chat/completions"
        (await program_client.post(path, json=body)).raise_for_status()
        await program_client.get("/api/v1/search", params={"q": "zebra"})
    await traced(collector, thread_id, "chat 500")
    await until(lambda: any(b"/gateway/" + chat.name("lab").encode() in body for body in collector.bodies))
    everything = b"".join(collector.bodies)
    for text in ("zebra", "Pondering", "You said", chat.name("alice"), API_KEY, SECRET, "tk_"):
        assert not [(span.name, span.attributes) for span in collector.spans if text in repr(span)]
        assert text.encode() not in everything


async def test_texts_are_in_the_spans_if_they_are_asked_for(start_server: StartServer, collector: Collector) -> None:
    server = await start_server(
        **TRACE,
        TELEMETRY_TEXTS="true",
        USAGE_KEEP_PAYLOADS="false",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_EXPORTER_OTLP_HEADERS="api-key=secret-of-the-collector",
        OTEL_SERVICE_NAME="harbour-chat",
    )
    await server.add_user("alice", "correct horse battery")
    async with ChatClient(server.base_url, "alice", "correct horse battery") as client:
        await client.ask(f"{QUESTION} {API_KEY}")
        thread_id = client.thread_id
    spans = await traced(collector, thread_id, "invoke_agent", "chat gpt-4o-mini")
    call = next(span for span in spans if span.attributes.get("threadkeeper.call.kind") == "chat")
    asked = json.loads(call.attributes["gen_ai.input.messages"])
    assert asked[-1] == {"role": "user", "parts": [{"type": "text", "content": f"{QUESTION} ********"}]}
    (answered,) = json.loads(call.attributes["gen_ai.output.messages"])
    assert answered["parts"][0]["content"].startswith(f"You said: {QUESTION}")
    assert (answered["role"], answered["finish_reason"]) == ("assistant", "stop")
    assert call.resource["service.name"] == "harbour-chat"
    assert collector.headers[-1]["api-key"] == "secret-of-the-collector"
    async with server.layer() as layer:
        found = await layer.get_call(call.attributes["threadkeeper.call.id"])
    assert found is not None
    assert found[1] is None


async def test_a_collector_that_is_away_is_told_once_and_disturbs_nobody(start_server: StartServer) -> None:
    with Collector(status=503) as away:
        server = await start_server(**TRACE, OTEL_EXPORTER_OTLP_ENDPOINT=away.url)
        await server.add_user("alice", "correct horse battery")
        async with ChatClient(server.base_url, "alice", "correct horse battery") as client:
            for number in range(4):
                assert await client.ask(f"number {number}") == f"You said: number {number}"
            await until(lambda: "takes no traces" in server.log)
            away.status = 200
            await client.ask("one more")
            await until(lambda: "takes traces again" in server.log)
        assert await server.stop() == 0
    # The words of the exporter are the reason in our line, and stand nowhere else.
    assert [server.log.count(words) for words in ("takes no traces", "Failed to export")] == [1, 1]
    assert "Transient error" not in server.log
    assert "Traceback" not in server.log
