"""The process of the embedding model: real answers, urgent requests first, and its memory given back."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import astuple

import numpy as np
import pytest

from tests.support.patience import until
from threadkeeper.knowledge.chunks import ChunkSettings, split
from threadkeeper.knowledge.embedding.base import EmbeddingModel, EmbeddingPurpose
from threadkeeper.knowledge.embedding.embedder import Embedder
from threadkeeper.knowledge.embedding.local import DIMENSIONS, MODEL, THRESHOLD, LocalModel
from threadkeeper.knowledge.worker_process import EmbeddingWorker, WorkerFailed

NOBODY = EmbeddingPurpose()
TEXTS = ["The harbour opens at six in the morning.", "港口早上六点开放。", "Cats sleep most of the day."]


@pytest.mark.slow
async def test_the_model_embeds_texts_of_one_meaning_near_each_other_and_is_started_again_after_its_end() -> None:
    worker = EmbeddingWorker(idle_seconds=60)
    embedder = Embedder(LocalModel(worker), EmbeddingModel(MODEL, DIMENSIONS, THRESHOLD, is_local=True))
    started = worker.process_id
    assert started is None, "nothing is loaded before the first text"
    try:
        passages = await embedder.embed(TEXTS * 4, "passage", NOBODY)
        question = await embedder.embed(["When does the harbour open?"], "question", NOBODY)
        assert passages.vectors.shape == (12, 512)
        assert np.allclose(np.linalg.norm(passages.vectors, axis=1), 1, atol=1e-4)
        english, chinese, cats = (passages.vectors[:3] @ question.vectors[0]).tolist()
        assert min(english, chinese) > cats + 0.1
        assert worker.process_id is not None
        os.kill(worker.process_id, signal.SIGKILL)
        again = await embedder.embed(TEXTS[:1], "passage", NOBODY)
        assert np.allclose(again.vectors, passages.vectors[:1], atol=1e-3)
    finally:
        await embedder.close()
    assert worker.process_id is None


async def test_chunks_of_the_worker_are_those_of_this_process_and_an_idle_worker_ends() -> None:
    worker = EmbeddingWorker(idle_seconds=0.2)
    text = "一句话。 A sentence. " * 200
    asked = {"do": "chunk", "texts": [(text, False)], "tokens": 40, "overlap": 8, "window": 12}
    try:
        (found,), _ = await worker.ask(asked)
        chunks = split(text, ChunkSettings(40, 8, 12))
        assert [(*chunk[:3], tuple(map(tuple, chunk[3])), chunk[4]) for chunk in found] == [
            astuple(chunk) for chunk in chunks
        ]
        assert len(chunks[0].windows) > 2
        await until(lambda: worker.process_id is None)
        assert len((await worker.ask(asked))[0][0]) == len(chunks)
    finally:
        await worker.close()


async def test_an_urgent_request_goes_before_those_that_wait() -> None:
    worker = EmbeddingWorker()
    order: list[str] = []

    async def ask(name: str, *, is_urgent: bool = False) -> None:
        asked = {"do": "chunk", "texts": [(name, False)], "tokens": 40, "overlap": 8, "window": 12}
        await worker.ask(asked, is_urgent=is_urgent)
        order.append(name)

    try:
        waiting = [asyncio.create_task(ask(name)) for name in ("first", "second", "cancelled", "third")]
        await asyncio.sleep(0)
        waiting[2].cancel()
        await asyncio.gather(*waiting, ask("urgent", is_urgent=True), return_exceptions=True)
    finally:
        await worker.close()
    assert order == ["first", "second", "urgent", "third"], "the worker has two at a time"


async def test_a_request_that_the_worker_cannot_answer_fails_and_the_next_one_works() -> None:
    worker = EmbeddingWorker()
    try:
        with pytest.raises(WorkerFailed):
            await worker.ask({"do": "nothing of the kind"})
        assert await worker.ask({"do": "chunk", "texts": [("x", False)], "tokens": 4, "overlap": 0, "window": 0})
    finally:
        await worker.close()


async def test_a_request_that_ends_the_process_does_not_fail_the_one_behind_it() -> None:
    worker = EmbeddingWorker()
    try:
        answers = await asyncio.gather(
            worker.ask({"do": "nothing of the kind"}),
            worker.ask({"do": "chunk", "texts": [("x", False)], "tokens": 4, "overlap": 0, "window": 0}),
            return_exceptions=True,
        )
    finally:
        await worker.close()
    assert isinstance(answers[0], WorkerFailed)
    assert answers[1] == ([[[0, 1, 1, [[0, 1]], None]]], b"")
