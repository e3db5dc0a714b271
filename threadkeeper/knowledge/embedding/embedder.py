"""Embeds texts of any number with a model: in batches, checked, with their tokens and costs added up."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from datalayer.records.usage import LlmCall
from threadkeeper.chat.embeddings import embedding_request
from threadkeeper.chat.model import ErrorKind, Model, ModelError, Purpose
from threadkeeper.knowledge.embedding.base import (
    Embedded,
    EmbeddingError,
    EmbeddingModel,
    EmbeddingPurpose,
    EmbedFailure,
)

if TYPE_CHECKING:
    from threadkeeper.knowledge.embedding.base import Vectors

logger = logging.getLogger(__name__)

_FAILURES: dict[ErrorKind, EmbedFailure] = {
    "unreachable": "unreachable",
    "timeout": "timeout",
    "rate_limit": "rate_limit",
    "over_limit": "over_limit",
    "in_flight": "over_limit",
    "unpriced": "over_limit",
    "limit_unchecked": "unreachable",
    "server": "unreachable",
    "cut": "unreachable",
}
_TEMPORARY: frozenset[EmbedFailure] = frozenset({"unreachable", "timeout", "rate_limit"})


class Embedder:
    """Embeds with one model.

    Args:
        model: of `chat.embeddings`, metered as a rule.
        description: what is stored with the vectors. Without dimensions, the first answer gives them.
        asks_dimensions: whether the server is asked for vectors of the described size.
        batch: texts in one request at most.
    """

    def __init__(
        self, model: Model, description: EmbeddingModel, *, asks_dimensions: bool = False, batch: int = 64
    ) -> None:
        self.model = description
        self._model, self._asks_dimensions, self._batch = model, asks_dimensions, batch
        self._dimensions = description.dimensions

    async def embed(
        self,
        texts: Sequence[str],
        kind: Literal["question", "passage"],
        purpose: EmbeddingPurpose,
    ) -> Embedded:
        """The vectors of the texts, in their order. A question goes before waiting passages.

        Raises:
            EmbeddingError: the texts cannot be embedded now, or never. Its cause is the error of the model, if any.
        """
        import numpy as np  # noqa: PLC0415

        rows: list[LlmCall] = []
        found: list[Vectors] = []
        for start in range(0, len(texts), self._batch):
            request = embedding_request(
                texts[start : start + self._batch],
                self.model.name,
                Purpose(
                    "embedding",
                    user_id=purpose.user_id,
                    thread_id=purpose.thread_id,
                    assistant=purpose.assistant,
                    assistant_version=purpose.assistant_version,
                    on_call=rows.append,
                ),
                dimensions=self._dimensions,
                asks_dimensions=self._asks_dimensions and self._dimensions is not None,
                is_urgent=kind == "question",
            )
            try:
                await self._model.complete(request)
            except ModelError as error:
                raise _failure(error) from error
            vectors = np.asarray(request.vectors, np.float32)
            if not np.isfinite(vectors).all():
                raise EmbeddingError("not_a_number", "the embedding model gave a number that is not finite")
            self._dimensions = vectors.shape[1]
            found.append(_normalised(vectors))
        costs = [row.total_cost for row in rows]
        tokens = [row.prompt_tokens for row in rows if row.error_kind is None]
        return Embedded(
            np.concatenate(found) if found else np.zeros((0, self._dimensions or 0), np.float32),
            None if None in tokens else sum(token or 0 for token in tokens),
            None if None in costs else sum((cost or Decimal(0) for cost in costs), Decimal(0)),
        )

    async def close(self) -> None:
        await self._model.close()


def _failure(error: ModelError) -> EmbeddingError:
    unusable = error.values.get("embedding")
    if unusable in ("dimensions", "not_a_number", "wrong_count"):
        kind: EmbedFailure = unusable
        return EmbeddingError(kind, error.detail)
    kind = _FAILURES.get(error.kind, "refused")
    return EmbeddingError(kind, error.detail, is_temporary=kind in _TEMPORARY)


def _normalised(vectors: Vectors) -> Vectors:
    """The vectors with length 1; a zero vector stays zero."""
    import numpy as np  # noqa: PLC0415

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths), np.float32)
