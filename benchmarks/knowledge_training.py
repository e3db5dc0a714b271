"""Measures trainings: their rate beside that of embedding alone, and their memory.

`python -m benchmarks.knowledge_training [--memory]`

The rate: the documentation of this project, and a table of short rows, are trained with the embedding model of this
machine on SQLite; then the same texts are embedded alone. Seconds of the clock are those of a machine that does other
work too; the CPU time of the process that embeds is not: a training cannot be faster than it, and is as fast where
nothing waits. It contains the cutting into passages and the threshold. The memory: tables of few and of many rows are
trained with a model that costs nothing, and the largest growth of this process is compared, without mapped files.
"""

import argparse
import asyncio
import os
import tempfile
import time
import uuid
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Literal

import numpy as np

import datalayer
from benchmarks.knowledge import DOCS, NOBODY
from benchmarks.memory import resident_bytes
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.knowledge import DataSource, Training
from threadkeeper.knowledge.chunks import ChunkSettings
from threadkeeper.knowledge.embedding.base import Embedded, EmbeddingModel, EmbeddingPurpose, Embeds
from threadkeeper.knowledge.embedding.embedder import Embedder
from threadkeeper.knowledge.embedding.local import DIMENSIONS, MODEL, THRESHOLD, WINDOW, LocalModel
from threadkeeper.knowledge.training import KnowledgeSettings, Trainer
from threadkeeper.knowledge.worker_process import EmbeddingWorker

_LOCAL = EmbeddingModel(MODEL, DIMENSIONS, THRESHOLD, is_local=True)


class Free:
    """Gives vectors of chance."""

    model = _LOCAL

    async def embed(
        self,
        texts: Sequence[str],
        kind: Literal["question", "passage"],  # noqa: ARG002  as `Embeds` asks for it
        purpose: EmbeddingPurpose,  # noqa: ARG002
    ) -> Embedded:
        vectors = np.random.default_rng(len(texts)).normal(size=(len(texts), DIMENSIONS)).astype(np.float32)
        return Embedded(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 0, Decimal(0))


class Noting:
    """Embeds with a model, and keeps the texts and the seconds that it took."""

    def __init__(self, embedder: Embedder) -> None:
        self.model, self._embedder = embedder.model, embedder
        self.texts: list[str] = []
        self.seconds = 0.0

    async def embed(
        self, texts: Sequence[str], kind: Literal["question", "passage"], purpose: EmbeddingPurpose
    ) -> Embedded:
        self.texts += texts
        began = time.perf_counter()
        embedded = await self._embedder.embed(texts, kind, purpose)
        self.seconds += time.perf_counter() - began
        return embedded


def table(rows: int) -> bytes:
    """A table of rows of about 30 words."""
    sentence = (
        "The keeper of shelf {0} counts the boxes of row {0} each evening and writes their number into the book. "
    )
    return ("id,text\n" + "\n".join(f"R-{at},{sentence.format(at) * 2}" for at in range(rows))).encode()


async def train(layer: ChainlitLayer, worker: EmbeddingWorker, embedder: Embeds, name: str, rows: int) -> Training:
    """A training of the table, or of the documentation if there are no rows."""
    sources = [(f"{name}.csv", "datasheet", table(rows))] if rows else []
    sources += [] if rows else [(file.name, "file", file.read_bytes()) for file in sorted(DOCS.glob("*.md"))]
    for title, kind, content in sources:
        await layer.put_source(DataSource(str(uuid.uuid4()), name, kind, title), content)
    trainer = Trainer(layer, embedder, worker, KnowledgeSettings(ChunkSettings(window=WINDOW)))
    return await trainer.train((await layer.start_training(name)).id)


def cpu_seconds(worker: EmbeddingWorker) -> float:
    """The CPU time that the embedding process has taken, on Linux."""
    fields = Path(f"/proc/{worker.process_id}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def rate(layer: ChainlitLayer, worker: EmbeddingWorker) -> None:
    embedder = Embedder(LocalModel(worker), _LOCAL)
    # The worker loads the model and the vocabulary.
    await train(layer, worker, embedder, "first", 1)
    for name, rows in (("documentation", 0), ("table", 400)):
        noting = Noting(embedder)
        began, cpu_began, own_began = time.perf_counter(), cpu_seconds(worker), time.process_time()
        done = await train(layer, worker, noting, name, rows)
        trained, cpu_trained = time.perf_counter() - began, cpu_seconds(worker) - cpu_began
        own = time.process_time() - own_began
        began, cpu_began = time.perf_counter(), cpu_seconds(worker)
        for start in range(0, len(noting.texts), 64):
            await embedder.embed(noting.texts[start : start + 64], "passage", NOBODY)
        alone, cpu_alone = time.perf_counter() - began, cpu_seconds(worker) - cpu_began
        print(
            f"{name}: {done.counts.documents} documents, {done.counts.vectors} vectors: trained in {trained:.1f} s,"
            f" embedded alone in {alone:.1f} s (ratio of the rates {alone / trained:.2f}; the model worked"
            f" {noting.seconds / trained:.0%} of the training); CPU of the embedding process {cpu_trained:.1f} s and"
            f" {cpu_alone:.1f} s (ratio {cpu_alone / cpu_trained:.2f}), of this process {own:.1f} s",
            flush=True,
        )


async def memory(layer: ChainlitLayer, worker: EmbeddingWorker, few: int, many: int) -> None:
    await train(layer, worker, Free(), "first", few)
    grown = []
    for rows in (few, many):
        before = most = resident_bytes("RssAnon")
        training = asyncio.create_task(train(layer, worker, Free(), f"table of {rows}", rows))
        while not training.done():
            await asyncio.sleep(0.05)
            most = max(most, resident_bytes("RssAnon"))
        await training
        grown.append((most - before) / 1e6)
    print(
        f"the memory of the process grows by {grown[0]:.0f} MB at most in a training of {few:,} documents, by"
        f" {grown[1]:.0f} MB in one of {many:,}"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", action="store_true", help="measure the memory instead of the rate")
    options = parser.parse_args()
    worker = EmbeddingWorker()
    with tempfile.TemporaryDirectory() as folder, acting_as(SYSTEM):
        layer = datalayer.create_data_layer(f"sqlite:///{folder}/knowledge.db", f"file://{Path(folder) / 'files'}")
        await layer.migrate()
        await (memory(layer, worker, 500, 4_000) if options.memory else rate(layer, worker))
        await layer.close()
    await worker.close()


if __name__ == "__main__":
    asyncio.run(main())
