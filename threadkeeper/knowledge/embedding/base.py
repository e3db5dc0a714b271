"""What embedding gives: vectors, their model, and the reasons why there are none.

A vector has length 1 and is stored as float16, because pgvector's `halfvec` has no more. Half the bytes change the
order of results less than the model's own noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]

EmbedFailure = Literal[
    "unreachable",
    "timeout",
    "rate_limit",
    "refused",
    "dimensions",
    "not_a_number",
    "wrong_count",
    "over_limit",
]


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
        name: of the model.
        dimensions: of a vector; None until the first answer of a server tells.
        threshold: the cosine below which a passage answers nothing, before a training calibrates it.
        is_local: whether it costs nothing, because it runs on this machine.
        window: tokens of a sentence that has a vector of its own; 0: passages alone have; None: as the settings of the
            chunks say.
    """

    name: str
    dimensions: int | None
    threshold: float
    is_local: bool = False
    window: int | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingPurpose:
    """For whom texts are embedded, as the row of the call says: the assistant with the version that is asked, and who
    asks or started the training."""

    assistant: str | None = None
    user_id: str | None = None
    thread_id: str | None = None
    assistant_version: int | None = None


@dataclass(frozen=True, slots=True)
class Embedded:
    """Args:
    vectors: a row of float32 for each text, of length 1.
    tokens: as billed; 0 for a local model, None if the server does not say.
    cost: US dollars; 0 for a local model, None if unknown.
    """

    vectors: Vectors
    tokens: int | None
    cost: Decimal | None


class Embeds(Protocol):
    """Embeds texts with one model, as `embedder.Embedder` does."""

    model: EmbeddingModel

    async def embed(
        self, texts: Sequence[str], kind: Literal["question", "passage"], purpose: EmbeddingPurpose
    ) -> Embedded:
        """The vectors of the texts. Raises EmbeddingError."""
