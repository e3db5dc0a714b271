"""Exports of calls as CSV and JSON Lines, streamed.

Amounts of money are text with all digits in both. In CSV, text that a spreadsheet would run as a formula gets an
apostrophe in front: clients choose the name of a model freely. CSV begins with a byte order mark (`downloads.BOM`).
"""

import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import fields
from decimal import Decimal
from typing import Any

from datalayer.records.usage import CallRow, LlmCall
from threadkeeper.web.pages.downloads import BOM, cell

ROWS_AT_ONCE = 200
_FIELDS = tuple(one.name for one in fields(LlmCall))
COLUMNS = (*_FIELDS, "user", "project")


async def as_csv(rows: AsyncIterator[CallRow]) -> AsyncIterator[bytes]:
    """CSV with a header line, as in RFC 4180, in UTF-8 with a byte order mark."""
    mark = BOM
    async for chunk in _in_pieces(rows, _csv_lines, head=[list(COLUMNS)]):
        # With the first rows, not before: an export that fails at once has sent nothing.
        yield mark + chunk
        mark = b""


async def as_json_lines(rows: AsyncIterator[CallRow]) -> AsyncIterator[bytes]:
    """One JSON object a line."""
    async for chunk in _in_pieces(rows, _json_lines, head=[]):
        yield chunk


def record(row: CallRow) -> dict[str, Any]:
    """The call with JSON values, and the names of its user and its project."""
    # Not `asdict`: it copies every value deeply, which took most of the time of an export.
    values = {name: _plain(getattr(row.call, name)) for name in _FIELDS}
    return values | {"user": row.user, "project": row.project}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        # Never 1E-7, which not every program reads.
        return f"{value.normalize():f}"
    return list(value) if isinstance(value, tuple) else value


async def _in_pieces(
    rows: AsyncIterator[CallRow], lines: Callable[[list[Any]], bytes], *, head: list[Any]
) -> AsyncIterator[bytes]:
    gathered = head
    is_first = True
    source: Any = rows
    async with aclosing(source):
        async for row in rows:
            gathered.append(record(row))
            # Send the first row at once, so that the reader sees that the export has started.
            if is_first or len(gathered) >= ROWS_AT_ONCE:
                yield lines(gathered)
                gathered, is_first = [], False
    if gathered:
        yield lines(gathered)


def _csv_lines(records: list[Any]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    for one in records:
        writer.writerow(one if isinstance(one, list) else [cell(one[name]) for name in COLUMNS])
    return text.getvalue().encode()


def _json_lines(records: list[Any]) -> bytes:
    return b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in records)
