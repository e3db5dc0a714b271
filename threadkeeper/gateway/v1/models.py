"""The list of models, as OpenAI's clients read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def listed(models: Sequence[str]) -> dict[str, Any]:
    """The list of these models."""
    return {"object": "list", "data": [described(name) for name in models]}


def described(name: str) -> dict[str, Any]:
    """One model. When it was made is not known."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "threadkeeper"}
