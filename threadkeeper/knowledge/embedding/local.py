"""The embedding model of this machine: no key, no download, no request to a server.

Universal Sentence Encoder, multilingual, version 3: 16 languages, English and Chinese among them. It runs in the
embedding worker, in small batches, so that a question waits for one of them at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from threadkeeper.knowledge.embedding.base import (
    Embedded,
    EmbeddingError,
    EmbeddingModel,
    EmbeddingPurpose,
    TextKind,
    normalised,
)
from threadkeeper.knowledge.worker_process import EmbeddingWorker, WorkerFailed

if TYPE_CHECKING:
    from threadkeeper.knowledge.embedding.base import Vectors

DIMENSIONS = 512
# Unanswerable questions reach cosines of .10 to .24 to their best passage, true pairs have medians of .27 to .30.
THRESHOLD = 0.20
_BATCH = 8


class LocalEmbedder:
    """Embeds with the model of the extra `knowledge`."""

    model = EmbeddingModel("use-multilingual-3/0.2.1", DIMENSIONS, THRESHOLD, is_local=True)

    def __init__(self, worker: EmbeddingWorker) -> None:
        self._worker = worker

    async def embed(
        self,
        texts: Sequence[str],
        kind: TextKind,
        purpose: EmbeddingPurpose = EmbeddingPurpose(),  # noqa: ARG002, B008  it costs nobody anything
    ) -> Embedded:
        import numpy as np  # noqa: PLC0415

        found: list[Vectors] = []
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            try:
                _, data = await self._worker.ask({"do": "embed", "texts": batch}, is_urgent=kind == "question")
            except WorkerFailed as error:
                raise EmbeddingError("local", f"the embedding model does not run: {error}") from None
            found.append(np.frombuffer(data, "<f4").reshape(len(batch), DIMENSIONS))
        vectors = np.concatenate(found) if found else np.zeros((0, DIMENSIONS), np.float32)
        if not np.isfinite(vectors).all():
            raise EmbeddingError("not_a_number", "the embedding model gave a number that is not finite")
        return Embedded(normalised(vectors), 0, "0")

    async def close(self) -> None:
        await self._worker.close()
