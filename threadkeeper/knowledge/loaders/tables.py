"""Reads the rows of CSV files and workbooks, for the loaders that make documents of them."""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence

from threadkeeper.documents.worker.archive import open_archive
from threadkeeper.documents.worker.reading import Reading
from threadkeeper.documents.worker.sheets import (
    note_left_out,
    open_workbook,
    rows_of,
    sheet_names,
    without_placeholders,
)
from threadkeeper.knowledge.loaders.base import LoadOptions, Refused, Taken
from threadkeeper.knowledge.loaders.text import text_of

ARCHIVE = b"PK"
COMPOUND = b"\xd0\xcf\x11\xe0"
_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 20
_SAMPLE_CHARACTERS = 100_000
# Excel writes and reads such a first line.
_NAMED_DELIMITER = re.compile(r"sep=(?P<delimiter>[,;\t|])(?:\r\n|\n|\r|$)", re.IGNORECASE)
_QUOTED = re.compile(r'(?:^|(?<=[,;\t|]))"(?:[^"]|"")*+"', re.MULTILINE)


def csv_rows(data: bytes, taken: Taken) -> Iterator[list[str]]:
    """The rows of a CSV file, without empty ones. Raises Refused("broken") if a quote is opened and never closed: the
    rest of the file would be one cell."""
    text = text_of(data, taken)
    # Of the process: it is never lowered, because others may read CSV in it.
    csv.field_size_limit(max(len(text), csv.field_size_limit()))
    # Quoted cells may contain delimiters, and several lines.
    lines = _QUOTED.sub('""', text[:_SAMPLE_CHARACTERS]).splitlines()[:_SAMPLE_LINES]
    # The delimiter that most lines contain equally often; the sniffer of the standard library takes a letter at times.
    counts = {one: [line.count(one) for line in lines if line.strip()] for one in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda one: (min(counts[one], default=0) > 0, sum(counts[one])))
    if named := _NAMED_DELIMITER.match(text):
        delimiter, text = named["delimiter"], text[named.end() :]
    if _ends_in_quotes(text, delimiter):
        raise Refused("broken")
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield cells
    except csv.Error:
        raise Refused("broken") from None


def _ends_in_quotes(text: str, delimiter: str) -> bool:
    try:
        deque(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), maxlen=0)
    except csv.Error as error:
        # The reader is strict with other things too, which it tells in the same way.
        return "unexpected end of data" in str(error)
    return False


def sheets(data: bytes, options: LoadOptions, taken: Taken) -> Iterator[tuple[str, Iterator[list[str]]]]:
    """The sheets of a workbook that are shown, or the one of the options, each with its rows. Raises Refused."""
    archive = open_archive(data) if data.startswith(ARCHIVE) else None
    if archive is not None:
        data, archive = without_placeholders(data, archive)
    workbook = open_workbook(data)
    shown, hidden = sheet_names(workbook)
    reading = Reading()
    reading.leave_out("part_hidden_sheets", len(hidden), names=", ".join(hidden[:10]))
    note_left_out(workbook, archive, reading)
    taken.left_out += reading.left_out
    if options.sheet is not None and options.sheet not in shown:
        raise Refused("without_sheet")
    for name in shown if options.sheet is None else [options.sheet]:
        yield name, (row for row in rows_of(workbook, name) if any(row))


def header_of(first: Sequence[str]) -> list[str] | None:
    """The names of the columns, if the first row looks like them: distinct, and none is a number."""
    names = [cell.strip() for cell in first]
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        return None
    return None if any(_is_number(name) for name in names) else names


def described(header: Sequence[str] | None, row: Sequence[str]) -> str:
    """A row as text: a line for each cell, with the name of its column, so that a chunk needs no header."""
    if header is None:
        return ", ".join(cell for cell in row if cell)
    named = zip(header, row, strict=False)
    lines = [f"{name}: {cell}" for name, cell in named if cell] + [cell for cell in row[len(header) :] if cell]
    return "\n".join(lines)


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "", 1).lstrip("+-").isdigit()
