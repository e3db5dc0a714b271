"""The columns of a table, from which the owner of a datasheet chooses."""

from __future__ import annotations

import json
from contextlib import aclosing
from dataclasses import dataclass

from threadkeeper.knowledge.loading import Load, LoadLimits


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet of a workbook, or the table of a CSV file, whose name is ""."""

    name: str
    columns: tuple[str, ...]


async def sheets_of(name: str, content: bytes, limits: LoadLimits) -> list[Sheet]:
    """The sheets of a table with the names in their first rows.

    Raises:
        LoadRefused: the file is no table, or cannot be read.
    """
    async with aclosing(Load("columns", name, content, limits).documents()) as documents:
        return [Sheet(one.key, tuple(json.loads(one.text))) async for one in documents]
