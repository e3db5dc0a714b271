"""The behaviour of the scripted model server that other tests rely on."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import openai
import pytest

from tests.support.model_server import ModelServer, count_tokens, pieces
from tests.support.patience import PATIENCE_SECONDS


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as running:
        yield running


@pytest.fixture
async def client(server: ModelServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="key", max_retries=0) as connected:
        yield connected


async def test_openais_own_client_reads_the_stream(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="slow:4:0.001",
        messages=[{"role": "user", "content": "Hello"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == "word-1 word-2 word-3 word-4 "
    assert chunks[-2].choices[0].finish_reason == "stop"
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (5, 4, 9)


async def test_models_and_embeddings(client: openai.AsyncOpenAI) -> None:
    assert "echo" in [model.id async for model in client.models.list()]
    answer = await client.embeddings.create(model="embed", input=["one", "two", "one"], dimensions=8)
    first, second, third = (item.embedding for item in answer.data)
    assert len(first) == 8
    assert first == third != second
    assert math.isclose(sum(number * number for number in first), 1, rel_tol=1e-6)
    assert answer.usage.prompt_tokens == 3


def test_tokens_are_words_and_chinese_characters() -> None:
    assert pieces("One two  你好!") == ["One ", "two  ", "你", "好", "!"]
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    content = [{"type": "text", "text": "One two"}, picture]
    assert count_tokens([{"role": "user", "content": content}, {"role": "user", "content": "x"}]) == 4 + 2 + 85 + 4 + 1


async def test_it_runs_as_a_process_and_lists_its_requests() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.model_server", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            address = (await process.stdout.readline()).decode().strip()
        async with openai.AsyncOpenAI(base_url=address, api_key="key") as client:
            await client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "Hello"}])
            requests = await client.get(f"{address.removesuffix('/v1')}/_requests", cast_to=list[dict[str, object]])
        assert [request["path"] for request in requests] == ["/v1/chat/completions"]
    finally:
        process.terminate()
        await process.communicate()


async def test_the_ledger_has_reported_and_unreported_tokens(client: openai.AsyncOpenAI, server: ModelServer) -> None:
    for model, include_usage in (("slow:4:0", True), ("slow:4:0", False), ("cut:2", True)):
        stream = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            stream_options={"include_usage": include_usage},
        )
        with contextlib.suppress(openai.APIConnectionError, httpx2.HTTPError):
            assert [chunk async for chunk in stream]
    with contextlib.suppress(openai.InternalServerError):
        await client.chat.completions.create(model="500", messages=[{"role": "user", "content": "Hello"}])
    await client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "Hello"}])
    ledger = await client.get(f"{server.root}/_ledger", cast_to=list[dict[str, object]])
    assert [(one["model"], one["reported"], one["prompt_tokens"], one["completion_tokens"]) for one in ledger] == [
        ("slow:4:0", True, 5, 4),
        ("slow:4:0", False, 5, 4),
        ("cut:2", False, 5, 2),
        ("echo", True, 5, 3),
    ]
