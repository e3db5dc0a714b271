"""Embedding through a server: its answers are checked, and its calls are limited, priced and stored like all others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import EMBEDDED_PROVIDER, CallFilter, Limit
from tests.support.model_server import API_KEY, ModelServer
from tests.support.records import new_id
from threadkeeper.chat.embeddings import EmbeddingRequest, OnlyEmbeds
from threadkeeper.chat.metering.metered_model import MeteredModel
from threadkeeper.chat.model import Completion, Finish, Model, ModelRequest, Source, TokenUsage
from threadkeeper.chat.providers import create_model
from threadkeeper.knowledge.embedding.base import EmbeddingError, EmbeddingModel, EmbeddingPurpose
from threadkeeper.knowledge.embedding.embedder import Embedder

PURPOSE = EmbeddingPurpose(assistant="librarian")


@asynccontextmanager
async def embedder(
    layer: ChainlitLayer, server: ModelServer, name: str = "words", dimensions: int | None = None, **options: Any
) -> AsyncIterator[Embedder]:
    model = create_model(api_key=API_KEY, base_url=server.base_url, timeout_seconds=60, embeds=True)
    metered = MeteredModel(model, layer, keep_payloads=False)
    made = Embedder(metered, EmbeddingModel(name, dimensions, 0.3), **options)
    yield made
    await made.close()


async def test_texts_are_embedded_in_batches_and_each_request_is_a_row(
    layer: ChainlitLayer, model_server: ModelServer
) -> None:
    texts = [f"The text number {number}." for number in range(10)]
    async with embedder(layer, model_server, batch=4) as made:
        found = await made.embed(texts, "passage", PURPOSE)
        again = await made.embed(texts[9:], "question", PURPOSE)
    assert [len(request.body["input"]) for request in model_server.requests] == [4, 4, 2, 1]
    assert found.vectors.shape == (10, 64)
    assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
    assert np.allclose(found.vectors[9], again.vectors[0])
    assert found.tokens == sum(billed.prompt_tokens for billed in model_server.ledger[:3])
    assert found.cost is None, "nobody knows what this server costs"
    rows = (await layer.list_calls(CallFilter())).rows
    assert [(row.call.kind, row.call.model, row.call.assistant) for row in rows] == [
        ("embedding", "words", "librarian")
    ] * 4
    assert sum(row.call.prompt_tokens or 0 for row in rows) == sum(
        billed.prompt_tokens for billed in model_server.ledger
    )
    for row in rows:
        stored = await layer.get_call(row.call.id)
        assert stored is not None
        assert stored[1] is None, "the texts are stored as passages, and not once more"


@pytest.mark.parametrize(
    ("name", "dimensions", "kind", "detail"),
    [
        ("words:32", 64, "dimensions", "the vectors have 32 dimensions, not 64"),
        ("words-nan", None, "not_a_number", "not finite"),
        ("words-few", None, "wrong_count", "1 vectors for 2 texts"),
        ("401", None, "refused", "HTTP 401"),
        ("429:9:60", None, "rate_limit", "HTTP 429"),
    ],
)
async def test_an_answer_that_cannot_be_used_is_refused_and_stored(
    layer: ChainlitLayer, model_server: ModelServer, name: str, dimensions: int | None, kind: str, detail: str
) -> None:
    async with embedder(layer, model_server, name, dimensions) as made:
        with pytest.raises(EmbeddingError, match=detail) as failed:
            await made.embed(["one", "two"], "passage", PURPOSE)
    assert (failed.value.kind, failed.value.is_temporary) == (kind, kind == "rate_limit")
    assert API_KEY not in failed.value.detail
    (row,) = (await layer.list_calls(CallFilter())).rows
    assert row.call.error_kind is not None
    # What was billed is counted, even if its vectors cannot be used.
    assert (row.call.prompt_tokens is not None) == bool(model_server.ledger)


async def test_a_server_that_asks_to_wait_a_moment_is_asked_again(
    layer: ChainlitLayer, model_server: ModelServer
) -> None:
    async with embedder(layer, model_server, "429:1:0.05") as made:
        assert (await made.embed(["one"], "passage", PURPOSE)).vectors.shape == (1, 16)
    rows = (await layer.list_calls(CallFilter(), descending=False)).rows
    assert [(row.call.attempt, row.call.status_code) for row in rows] == [(1, 429), (2, 200)]


async def test_a_server_that_is_away_is_told(layer: ChainlitLayer, model_server: ModelServer) -> None:
    away = ModelServer(port=9)
    async with embedder(layer, away) as made:
        with pytest.raises(EmbeddingError) as failed:
            await made.embed(["one"], "passage", PURPOSE)
    assert (failed.value.kind, failed.value.is_temporary) == ("unreachable", True)


async def test_a_limit_holds_for_embedding_too(layer: ChainlitLayer, model_server: ModelServer) -> None:
    await layer.put_limit(Limit(new_id(), "project", await layer.default_project(), "day", "tokens", Decimal(30)))
    async with embedder(layer, model_server, batch=1) as made:
        await made.embed(["one two three four five six seven eight nine ten"], "passage", PURPOSE)
        with pytest.raises(EmbeddingError) as failed:
            await made.embed(["one two three four five six seven eight nine ten " * 3], "passage", PURPOSE)
    assert failed.value.kind == "over_limit"
    assert len(model_server.requests) == 1


class OnThisMachine(OnlyEmbeds):
    source = Source(EMBEDDED_PROVIDER, "")

    async def complete(self, request: ModelRequest) -> Completion:
        assert isinstance(request, EmbeddingRequest)
        request.vectors.extend([1.0, 2.0] for _ in request.messages)
        return Completion("", Finish(None, TokenUsage(0, 0), "small"))

    async def close(self) -> None: ...


async def test_a_model_of_this_machine_costs_nothing_and_says_so(layer: ChainlitLayer) -> None:
    local: Model = OnThisMachine()
    made = Embedder(MeteredModel(local, layer, keep_payloads=False), EmbeddingModel("small", 2, 0.3, is_local=True))
    found = await made.embed(["one", "two"], "passage", PURPOSE)
    await made.close()
    assert (found.tokens, found.cost) == (0, Decimal(0))
    (row,) = (await layer.list_calls(CallFilter())).rows
    assert row.call.total_cost == Decimal(0)
    assert row.call.price == {"source": "embedded", "input": "0", "cached": "0", "output": "0"}


async def test_the_price_of_an_embedding_model_is_known_without_a_price_for_answers(
    layer: ChainlitLayer, model_server: ModelServer
) -> None:
    model = create_model(api_key=API_KEY, azure_endpoint=model_server.root, azure_api_key=API_KEY, embeds=True)
    metered = MeteredModel(model, layer, keep_payloads=False)
    made = Embedder(metered, EmbeddingModel("text-embedding-3-small", None, 0.3))
    found = await made.embed(["one two three"], "passage", PURPOSE)
    await made.close()
    assert found.cost == Decimal("0.02") * 3 / 1_000_000
