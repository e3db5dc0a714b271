"""Embedding requests, in the form of a question to a model: so they are limited, priced and stored like all calls.

A model that embeds implements `complete`: it puts the vectors into the request and returns a `Completion` without text.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from threadkeeper.chat.model import AnswerEvent, ModelError, ModelRequest, Purpose

Vector = Sequence[float]


@dataclass(frozen=True, slots=True)
class EmbeddingRequest(ModelRequest):
    """The texts to embed, one a message.

    Args:
        dimensions: that the vectors must have; None: any, but all the same.
        asks_dimensions: whether the server is asked for vectors of this size.
        is_urgent: whether it goes before requests that wait, because a user waits for it.
        vectors: gets the answer: a vector for each text, in their order.
    """

    dimensions: int | None = None
    asks_dimensions: bool = False
    is_urgent: bool = False
    vectors: list[Vector] = field(default_factory=list, compare=False)


def embedding_request(
    texts: Sequence[str],
    model: str,
    purpose: Purpose,
    *,
    dimensions: int | None = None,
    asks_dimensions: bool = False,
    is_urgent: bool = False,
) -> EmbeddingRequest:
    """A request for the vectors of these texts."""
    return EmbeddingRequest(
        [{"role": "user", "content": text} for text in texts],
        model,
        max_tokens=1,  # An embedding has no answer; the least that is reserved.
        purpose=purpose,
        dimensions=dimensions,
        asks_dimensions=asks_dimensions,
        is_urgent=is_urgent,
    )


def texts_of(request: ModelRequest) -> list[str]:
    """The texts of an embedding request."""
    return [message["content"] for message in request.messages if isinstance(message["content"], str)]


class OnlyEmbeds:
    """The part of a `Model` that one for embeddings does not have."""

    demo = False

    async def stream(self, request: ModelRequest) -> AsyncGenerator[AnswerEvent, None]:
        raise ModelError("refused", f"the model {request.model} embeds texts and answers no questions")
        yield  # type: ignore[unreachable]  # makes this a generator

    async def load(self) -> None:
        """Does nothing: the model loads at its first request."""
