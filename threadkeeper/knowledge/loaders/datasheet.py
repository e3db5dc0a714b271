"""Loads a datasheet (CSV or a workbook): each row is a document, of the columns that its owner chose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from threadkeeper.knowledge.loaders.base import LoadedDocument, LoadOptions, Refused, Taken
from threadkeeper.knowledge.loaders.tables import ARCHIVE, COMPOUND, csv_rows, described, sheets

_TITLE_CHARACTERS = 80


class DatasheetLoader:
    name: ClassVar[str] = "datasheet"
    version: ClassVar[int] = 3

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        header, rows = self._first(data, options, taken)
        chosen = [_place(header, name) for name in options.columns] or [at for at, name in enumerate(header) if name]
        id_at = None if options.record_id is None else _place(header, options.record_id)
        suggestion_at = None if options.suggestion is None else _place(header, options.suggestion)
        taken.unit = "rows"
        seen: set[str] = set()
        repeated = 0
        for number, row in enumerate(rows, 1):
            taken.total += 1
            cells = [row[at] if at < len(row) else "" for at in chosen]
            record = (_cell(row, id_at) if id_at is not None else None) or str(number)
            text = described([header[at] for at in chosen], cells)
            if taken.kept >= options.max_rows or taken.characters + len(text) > options.max_characters:
                continue
            if record in seen:
                repeated += 1
                continue
            taken.kept += 1
            if text:
                seen.add(record)
                taken.characters += len(text)
                title = next(cell for cell in cells if cell)[:_TITLE_CHARACTERS]
                suggestion = None if suggestion_at is None else _cell(row, suggestion_at)
                yield LoadedDocument(text, record, title, record_id=record, suggestion=suggestion)
        if repeated:
            taken.left_out.append(("part_repeated_records", {"count": repeated}))
        if not seen:
            raise Refused("without_text")

    def _first(self, data: bytes, options: LoadOptions, taken: Taken) -> tuple[list[str], Iterator[list[str]]]:
        """The header and the rows of the chosen sheet, else of the first that has any; counts the others. Raises
        Refused if there is none."""
        found: tuple[list[str], Iterator[list[str]]] | None = None
        others = list[str]()
        for sheet, rows in tables_of(data, options, taken):
            header = next(rows, None)
            if header is None:
                continue
            if found is None:
                found = header, rows
            else:
                others.append(sheet)
        if found is None:
            raise Refused("without_text")
        if others:
            taken.left_out.append(("part_other_sheets", {"count": len(others), "names": ", ".join(others[:10])}))
        return found


def tables_of(data: bytes, options: LoadOptions, taken: Taken) -> Iterator[tuple[str, Iterator[list[str]]]]:
    """The sheets of a workbook, or the table of a CSV file with the name "", each with its rows. Raises Refused."""
    if data.startswith((ARCHIVE, COMPOUND)):
        yield from sheets(data, options, taken)
    else:
        yield "", csv_rows(data, taken)


def _place(header: list[str], name: str) -> int:
    """The place of a column. Raises Refused if there is none of this name."""
    if name not in header:
        raise Refused("without_column")
    return header.index(name)


def _cell(row: list[str], at: int) -> str | None:
    return (row[at].strip() or None) if at < len(row) else None
