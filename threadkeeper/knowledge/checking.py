"""Checks a file before it becomes a data source: its size, its type, and whether text can be taken of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from threadkeeper.knowledge.columns import sheets_of
from threadkeeper.knowledge.loaders.base import Taken
from threadkeeper.knowledge.loaders.formats import SourceKind
from threadkeeper.knowledge.loading import Load, LoadLimits, LoadRefused

_ENOUGH_DOCUMENTS = 2


async def check_file(
    kind: SourceKind, name: str, content: bytes, limits: LoadLimits, options: Mapping[str, Any]
) -> Taken | None:
    """Load the beginning of a file: one document, or two of a table.

    Returns:
        What was taken of a file that is one document; None if the file has further documents, which only a training
        loads.

    Raises:
        LoadRefused: the file is too large or of the wrong type, no text can be taken of it, or a table lacks chosen
            columns, which are named.
    """
    load = Load(kind, name, content, limits, **options)
    count = 0
    try:
        async with aclosing(load.documents()) as documents:
            async for _ in documents:
                count += 1
                if count == _ENOUGH_DOCUMENTS:
                    return None
    except LoadRefused as refused:
        if refused.refusal not in ("without_column", "without_sheet"):
            raise
        raise LoadRefused(refused.refusal, await _missing(name, content, limits, options)) from None
    return load.taken


async def _missing(name: str, content: bytes, limits: LoadLimits, options: Mapping[str, Any]) -> list[str]:
    """The chosen columns that a table lacks; the chosen sheet, if it lacks that."""
    sheets, wanted = await sheets_of(name, content, limits), options.get("sheet")
    sheet = next((one for one in sheets if one.name == wanted), None) if wanted else sheets[0]
    if sheet is None:
        return [str(wanted)]
    chosen = (*options.get("columns", ()), options.get("record_id"), options.get("suggestion"))
    return [name for name in dict.fromkeys(filter(None, chosen)) if name not in sheet.columns]
