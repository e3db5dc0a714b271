"""After a day of chats with faults, the recorded tokens equal those of the model server exactly."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import STOPPED, CallFilter
from datalayer.usage.verify import token_problem
from tests.conftest import StartServer
from tests.support.chat_client import ChatClient
from tests.support.ledger import counted_by_model, ledger_by_model, tokens_by_model
from tests.support.model_server import ModelServer
from tests.support.patience import PATIENCE_SECONDS
from tests.support.server import AppServer

pytestmark = pytest.mark.slow

PASSWORD = "a long password"
TITLE = "say:A fitting title"
# It sends 30 words and then nothing more, until the user stops it.
STOPPED_MODEL = "hang:30"
# The models that each user asks, which determine the results.
DAY = (
    *("echo", "500:1", "429:1:0", "cut:5", "short:4", "no-usage", "error:3", "length", "filtered", "bytes", "late"),
    *("401", "500", "quota", "refuse:temperature", "refuse:stream_options", "comments", "no-done", "json", "html"),
    *("empty", "garbage", "odd-usage", "context-echo"),
    *("usage:thought-apart", "usage:growing", "usage:zeros", "ends:object-error", "ends:done", "body:json-error"),
)
# Requests that are refused or get an invalid answer, which are not billed.
UNBILLED = {"401", "500", "quota", "html", "body:json-error"}


async def test_the_recorded_tokens_equal_those_of_the_model_server(
    start_server: StartServer, model_server: ModelServer
) -> None:
    models = ",".join((*DAY, STOPPED_MODEL))
    server = await start_server(
        OPENAI_MODELS=models,
        OPENAI_TITLE_MODEL=TITLE,
        OPENAI_MAX_RETRIES="1",
        # Nothing may time out, because the machine may be busy.
        OPENAI_TIMEOUT_SECONDS=str(PATIENCE_SECONDS),
    )
    for name in ("ann", "bob"):
        await server.add_user(name, PASSWORD)
    await server.add_user("operator", PASSWORD, role="admin")
    await asyncio.gather(*(use_every_model(name, server) for name in ("ann", "bob")))
    await server.stop()
    async with usage_layer(server) as layer:
        calls = [row.call async for row in layer.export_calls(CallFilter())]
        totals = await layer.usage_totals(CallFilter())

    assert len(calls) == len(model_server.requests), "each request is a row"
    reported = [one for one in model_server.ledger if one.reported]
    ours = [call for call in calls if call.prompt_tokens is not None and not call.is_estimated]
    assert tokens_by_model(ours) == ledger_by_model(reported)

    estimated = [call for call in calls if call.is_estimated]
    unreported = [one for one in model_server.ledger if not one.reported]
    whole = [call for call in estimated if call.finish_reason != STOPPED]
    assert tokens_by_model(whole) == await counted_by_model(one for one in unreported if one.model != STOPPED_MODEL)
    stopped = [call for call in estimated if call.finish_reason == STOPPED]
    theirs = await counted_by_model(one for one in unreported if one.model == STOPPED_MODEL)
    assert len(stopped) == 2
    assert tokens_by_model(stopped) == theirs

    # The page shows that sum.
    await server.start()
    async with ChatClient(server.base_url, "operator", PASSWORD) as client:
        page = (await client.http.get("/usage")).text
    assert f'title="{totals.total_tokens:,}"' in page
    assert f'title="{totals.calls:,}"' in page

    # What broke off is a failure with the server's words, and no row contradicts itself.
    broken = {call.model: call for call in calls if call.model.startswith(("ends:", "body:"))}
    assert {model: call.error_kind for model, call in broken.items()} == {
        "ends:object-error": "server",
        "ends:done": "cut",
        "body:json-error": "server",
    }
    assert "the GPU is on fire" in (broken["ends:object-error"].error_message or "")
    assert "the GPU is on fire" in (broken["body:json-error"].error_message or "")
    assert [token_problem(call) for call in calls] == [None] * len(calls)

    everything = sum((call.prompt_tokens or 0) + (call.completion_tokens or 0) for call in calls)
    assert (totals.calls, totals.total_tokens, totals.estimated) == (len(calls), everything, len(estimated))
    assert totals.failed == sum(call.has_failed for call in calls)
    failed = [call for call in calls if call.status_code != 200]
    assert {(call.prompt_tokens, call.total_cost) for call in failed} == {(None, None)}
    assert {call.model for call in failed} >= {"500", "500:1", "429:1:0", "401", "quota", "refuse:temperature"}
    assert {call.kind for call in calls} == {"chat", "title"}
    assert {call.model for call in calls if call.kind == "title"} == {TITLE}
    assert {call.user_id is not None and call.thread_id is not None for call in calls} == {True}


async def test_answers_in_progress_at_shutdown_are_recorded(
    start_server: StartServer, model_server: ModelServer
) -> None:
    server = await start_server(OPENAI_MODELS=STOPPED_MODEL)
    await server.add_user("ann", PASSWORD)
    async with ChatClient(server.base_url, "ann", PASSWORD) as client:
        await client.send("Count for me")
        await client.until(lambda: "word-20 " in client.answer)
        assert await server.stop() == 0
    async with usage_layer(server) as layer:
        (call,) = [row.call async for row in layer.export_calls(CallFilter())]
    assert (call.finish_reason, call.is_estimated, call.error_kind) == (STOPPED, True, None)
    assert (call.completion_tokens or 0) >= 20


async def use_every_model(name: str, server: AppServer) -> None:
    """Use one thread per model, each with a question, an edit and another question; one answer is stopped."""
    for model in DAY:
        async with ChatClient(server.base_url, name, PASSWORD) as client:
            modes = {"model": model}
            seen = len(client.events)
            question = await client.send(f"What of {model}, 你好?", modes=modes)
            await ended(client, seen)
            if model in ("echo", "cut:5", "500:1", "no-usage"):
                seen = len(client.events)
                edited = {"id": question, "threadId": client.thread_id, "type": "user_message", "name": name}
                step = {**edited, "output": "An edited question", "modes": modes}
                await client.emit("edit_message", {"message": step})
                await ended(client, seen)
            if model not in UNBILLED:
                await client.ask("And then?", modes=modes)
            await client.titled()
    async with ChatClient(server.base_url, name, PASSWORD) as client:
        await client.send("Count for me", modes={"model": STOPPED_MODEL})
        await client.until(lambda: "word-30" in client.answer)
        await client.emit("stop")
        await client.until(lambda: "Stopped here." in client.answer)


async def ended(client: ChatClient, seen: int) -> None:
    await client.until(lambda: any(name == "task_end" for name, _ in client.events[seen:]))


@contextlib.asynccontextmanager
async def usage_layer(server: AppServer) -> AsyncIterator[ChainlitLayer]:
    layer = datalayer.create_data_layer(server.database_url)
    try:
        yield layer
    finally:
        await layer.close()
