"""Embeds texts with a server that speaks OpenAI's protocol: POST /embeddings, with the retries of all calls."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from threadkeeper.chat.embeddings import EmbeddingRequest, OnlyEmbeds, Vector, texts_of
from threadkeeper.chat.model import Completion, Finish, ModelError, ModelRequest, TokenUsage
from threadkeeper.chat.providers.openai import OpenAIModel
from threadkeeper.chat.providers.openai_errors import clean


class OpenAIEmbeddings(OnlyEmbeds, OpenAIModel):
    path = "/embeddings"

    async def complete(self, request: ModelRequest) -> Completion:
        """Raises ModelError. Its value "embedding" says what is wrong with an answer that cannot be used."""
        assert isinstance(request, EmbeddingRequest)
        response = await self._post(request, stream=False)
        usage, answered_by = None, None
        try:
            body = json.loads(response.content)
            usage, answered_by = _usage(body), body.get("model")
            request.vectors[:] = _vectors(body, len(request.messages), request.dimensions)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            failure = error if isinstance(error, _Unusable) else _Unusable("wrong_count", "the answer is not readable")
            refused = ModelError("server", clean(str(failure), self._secret), {"embedding": failure.kind})
            refused.usage = usage
            raise refused from None
        return Completion("", Finish(None, usage, answered_by if isinstance(answered_by, str) else None))

    def _body(self, request: ModelRequest, left_out: set[str], *, stream: bool) -> dict[str, Any]:  # noqa: ARG002
        assert isinstance(request, EmbeddingRequest)
        body: dict[str, Any] = {"model": request.model, "input": texts_of(request), "encoding_format": "float"}
        if request.asks_dimensions:
            body["dimensions"] = request.dimensions
        return body


class _Unusable(ValueError):
    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind


def _usage(body: dict[str, Any]) -> TokenUsage | None:
    reported = body.get("usage")
    tokens = reported.get("prompt_tokens") if isinstance(reported, dict) else None
    return TokenUsage(tokens, 0) if isinstance(tokens, int) and tokens >= 0 else None


def _vectors(body: dict[str, Any], count: int, dimensions: int | None) -> Sequence[Vector]:
    """The vectors in the order of the texts. Raises _Unusable."""
    found: dict[int, Vector] = {int(one["index"]): one["embedding"] for one in body["data"]}
    if sorted(found) != list(range(count)):
        raise _Unusable("wrong_count", f"the server sent {len(found)} vectors for {count} texts")
    vectors = [found[index] for index in range(count)]
    sizes = {len(vector) for vector in vectors}
    if len(sizes) != 1 or sizes == {0} or (dimensions is not None and sizes != {dimensions}):
        raise _Unusable(
            "dimensions", f"the vectors have {', '.join(map(str, sorted(sizes)))} dimensions, not {dimensions}"
        )
    if not all(math.isfinite(number) for vector in vectors for number in vector):
        raise _Unusable("not_a_number", "a vector has a number that is not finite")
    return vectors
