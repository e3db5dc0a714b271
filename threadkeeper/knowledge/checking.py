"""Checks a file before it becomes a data source: its size, its type, and whether text can be taken of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from threadkeeper.knowledge.loaders.base import Taken
from threadkeeper.knowledge.loaders.formats import SourceKind
from threadkeeper.knowledge.loading import Load, LoadLimits

_ENOUGH_DOCUMENTS = 2


async def check_file(
    kind: SourceKind, name: str, content: bytes, limits: LoadLimits, options: Mapping[str, Any]
) -> Taken | None:
    """Load the beginning of a file: one document, or two of a table.

    Returns:
        What was taken of a file that is one document; None if the file has further documents, which only a training
        loads.

    Raises:
        LoadRefused: the file is too large or of the wrong type, or no text can be taken of it.
    """
    load = Load(kind, name, content, limits, **options)
    count = 0
    async with aclosing(load.documents()) as documents:
        async for _ in documents:
            count += 1
            if count == _ENOUGH_DOCUMENTS:
                return None
    return load.taken
