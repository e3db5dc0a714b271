"""Loads CSV files and workbooks (Excel, OpenDocument) as one document each; every row names its columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from threadkeeper.knowledge.loaders.base import LoadedDocument, LoadOptions, Refused, Taken
from threadkeeper.knowledge.loaders.tables import csv_rows, described, header_of, sheets

BETWEEN = "\n\n"


class CsvLoader:
    name: ClassVar[str] = "csv"
    version: ClassVar[int] = 3

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        parts, text = list[str](), _Text(options, taken)
        text.add(csv_rows(data, taken), parts)
        yield text.document(parts)


class WorkbookLoader:
    name: ClassVar[str] = "workbook"
    version: ClassVar[int] = 1

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        parts, text = list[str](), _Text(options, taken)
        for name, rows in sheets(data, options, taken):
            found: list[str] = []
            heading = f"## {name}"
            text.add(rows, found, len(heading) + len(BETWEEN))
            parts += [heading, *found] if found else []
        yield text.document(parts)


class _Text:
    """Collects rows within the limits, and counts those that are not taken."""

    def __init__(self, options: LoadOptions, taken: Taken) -> None:
        self._options, self._taken = options, taken
        self._left = options.max_characters + len(BETWEEN)
        taken.unit = "rows"

    def add(self, rows: Iterable[list[str]], parts: list[str], heading: int = 0) -> None:
        """Add the texts of rows to the parts. `heading`: the characters that come before them."""
        self._left -= heading
        header: list[str] | None = None
        for number, row in enumerate(rows):
            self._taken.total += 1
            if number == 0 and (header := header_of(row)) is not None:
                self._taken.kept += 1
                continue
            text = described(header, row)
            self._left -= len(text) + len(BETWEEN)
            if self._left >= 0 and self._taken.kept < self._options.max_rows:
                self._taken.kept += 1
                parts.append(text)

    def document(self, parts: list[str]) -> LoadedDocument:
        text = BETWEEN.join(parts)
        if not text:
            # A row that is longer than the limit, or none.
            raise Refused("without_text" if self._taken.kept == self._taken.total else "unsafe")
        self._taken.characters = len(text)
        return LoadedDocument(text)
