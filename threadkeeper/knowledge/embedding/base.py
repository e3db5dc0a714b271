"""What embeds texts.

A vector is normalised to length 1 and stored as float16, because pgvector's `halfvec` has no more; half the bytes
change the order of results less than the model's own noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

EmbedFailure = Literal[
    "unreachable",
    "timeout",
    "rate_limit",
    "refused",
    "dimensions",
    "not_a_number",
    "wrong_count",
    "over_limit",
    "local",
]
TextKind = Literal["question", "passage"]


class EmbeddingError(Exception):
    """Texts were not embedded, and the reason why.

    Args:
        kind: the reason.
        detail: for the log, without secrets and without the texts.
        is_temporary: whether the same call may work later.
    """

    def __init__(self, kind: EmbedFailure, detail: str, *, is_temporary: bool = False) -> None:
        super().__init__(detail)
        self.kind: EmbedFailure = kind
        self.detail = detail
        self.is_temporary = is_temporary


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """An embedding model, as it is stored with a training: vectors of different models are not comparable.

    Args:
        name: of the model, with its version.
        dimensions: of a vector; None until the first answer of a server tells.
        threshold: the cosine below which a passage answers nothing, before a training calibrates it.
        is_local: whether it costs nothing, because it runs on this machine.
    """

    name: str
    dimensions: int | None
    threshold: float
    is_local: bool = False


@dataclass(frozen=True, slots=True)
class EmbeddingPurpose:
    """For whom texts are embedded, as the row of the call says.

    Args:
        assistant: the id of the assistant.
        user_id: who asks, or who started the training.
        thread_id: of the question.
    """

    assistant: str | None = None
    user_id: str | None = None
    thread_id: str | None = None


@dataclass(frozen=True, slots=True)
class Embedded:
    """Args:
    vectors: a row of float32 for each text, of length 1.
    tokens: as billed; 0 for a local model, None if the server does not say.
    cost: US dollars as a decimal text; "0" for a local model, None if unknown.
    """

    vectors: Vectors
    tokens: int | None
    cost: str | None


class Embedder(Protocol):
    """Embeds texts with one model."""

    @property
    def model(self) -> EmbeddingModel: ...

    async def embed(
        self, texts: Sequence[str], kind: TextKind, purpose: EmbeddingPurpose = EmbeddingPurpose()
    ) -> Embedded:
        """The vectors of the texts, in their order. A question goes before waiting passages.

        Raises:
            EmbeddingError: the texts cannot be embedded now, or never.
        """

    async def close(self) -> None: ...


def normalised(vectors: Vectors) -> Vectors:
    """The vectors with length 1; a zero vector stays zero."""
    import numpy as np  # noqa: PLC0415  20 ms and 16 MB, at the first use

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths), np.float32)
