"""What a caller gets otherwise than the provider sends it. The gateway changes nothing; `/v1` does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Rewriter(Protocol):
    """Changes a body on its way to the caller, piece by piece."""

    def feed(self, chunk: bytes) -> bytes:
        """The bytes for the caller."""

    def finish(self) -> bytes:
        """The rest, after the last byte."""


class Changes:
    """Changes nothing. `rewrites`: whether bodies of answers are changed. `headers` are added to those of an answer."""

    rewrites = False
    headers: Sequence[tuple[bytes, bytes]] = ()

    def rewriter(self, content_type: str) -> Rewriter | None:  # noqa: ARG002
        """What changes the body of an answer of this type; None if it stays as it is."""
        return None

    def refusal(self, status: int, body: bytes) -> tuple[int, bytes] | None:  # noqa: ARG002
        """The status and the JSON body for a refusal of the provider, of which the body is decoded; None if both stay
        as they are."""
        return None


NO_CHANGES = Changes()
