"""The columns of a table, from which the owner of a datasheet chooses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from threadkeeper.knowledge.loading import Load, LoadLimits


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet of a workbook, or the table of a CSV file, whose name is ""."""

    name: str
    columns: tuple[str, ...]


class UnknownColumn(Exception):
    """A table lacks what was chosen of it: the `name` in a `field` of `options_of`."""

    def __init__(self, field: str, name: str) -> None:
        super().__init__(f"{field}: {name}")
        self.field, self.name = field, name


def options_of(
    sheets: Sequence[Sheet], *, columns: Sequence[str], record_id: str, suggestion: str, sheet: str
) -> dict[str, Any]:
    """The options of a datasheet with these choices.

    Args:
        sheets: of the file, at least one.
        columns: that are taken; without any, all.
        record_id, suggestion: columns; "" for none.
        sheet: the name of a sheet; "" for the first one.

    Raises:
        UnknownColumn: the file has no such sheet or column.
    """
    chosen = next((one for one in sheets if one.name == sheet), sheets[0] if not sheet else None)
    if chosen is None:
        raise UnknownColumn("sheet", sheet)
    fields = [*(("columns", name) for name in columns), ("record_id", record_id), ("suggestion", suggestion)]
    for field, name in fields:
        if name not in chosen.columns and (name or field == "columns"):
            raise UnknownColumn(field, name)
    return {
        # In the order of the table. All of them is the default, so that a column that is added later is taken.
        "columns": tuple(name for name in chosen.columns if name in columns)
        if len(columns) < len(chosen.columns)
        else (),
        "record_id": record_id,
        "suggestion": suggestion,
        "sheet": chosen.name if chosen != sheets[0] else "",
    }


async def sheets_of(name: str, content: bytes, limits: LoadLimits) -> list[Sheet]:
    """The sheets of a table with the names in their first rows.

    Raises:
        LoadRefused: the file is no table, or cannot be read.
    """
    async with aclosing(Load("columns", name, content, limits).documents()) as documents:
        return [Sheet(one.key, tuple(json.loads(one.text))) async for one in documents]
