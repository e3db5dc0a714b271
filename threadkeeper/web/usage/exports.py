"""Calls as files that other programs read: CSV and JSON lines, streamed, however many there are.

Money is text in both, with all its digits. In CSV a text that a spreadsheet would take for a formula begins with an
apostrophe: a model's name is whatever somebody sent.
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
from threadkeeper.web.pages.downloads import cell

ROWS_AT_ONCE = 200
_FIELDS = tuple(one.name for one in fields(LlmCall))
COLUMNS = (*_FIELDS, "user", "project")


async def as_csv(rows: AsyncIterator[CallRow]) -> AsyncIterator[bytes]:
    """CSV with a line of column names, as RFC 4180 has it, in UTF-8."""
    async for chunk in _in_pieces(rows, _csv_lines, head=[list(COLUMNS)]):
        yield chunk


async def as_json_lines(rows: AsyncIterator[CallRow]) -> AsyncIterator[bytes]:
    """One JSON object a line."""
    async for chunk in _in_pieces(rows, _json_lines, head=[]):
        yield chunk


def record(row: CallRow) -> dict[str, Any]:
    """The call as JSON can hold it, with the names of its user and its project."""
    # Not `asdict`, which copies every value deeply: most of an export's time went there.
    values = {name: _plain(getattr(row.call, name)) for name in _FIELDS}
    return values | {"user": row.user, "project": row.project}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        # Never 1E-7, which not everything reads.
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
            # The first row goes out by itself, so that a reader knows at once that something comes.
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
