"""The contract of the loaders.

A loader turns the bytes of one file into documents: one for most formats, one for each row of a datasheet and each pair
of a list of questions and answers. It runs in a process with limits (`worker`). What it does not take is counted in
`Taken`, and a file of which nothing can be taken raises `Refused`: a load is never empty and successful.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from threadkeeper.documents.worker.reading import Reading, Refused

__all__ = ["LoadOptions", "LoadedDocument", "Loader", "Refused", "Taken"]


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    """The text of a document.

    Args:
        text: what is embedded and cited.
        key: tells the document from the others of its source and stays the same from one load to the next; "" for the
            one document of a file.
        title: of the document itself; None if it has none.
        pages: for a PDF, the offset in the text at which each of its pages begins.
        record_id: of the row of a datasheet, or the record of an API.
        suggestion: a question to offer, from a column of a datasheet or a field of an API.
    """

    text: str
    key: str = ""
    title: str | None = None
    pages: tuple[int, ...] = ()
    record_id: str | None = None
    suggestion: str | None = None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """The limits of a load, and what its source says of its columns.

    Args:
        max_characters: of each document, and of all documents of the file together.
        max_pages: of a PDF.
        max_rows: of a sheet or a CSV file.
        columns: of a datasheet, whose texts are taken, by name; none: all. For an API, paths to fields of its records.
        record_id: the column or field that names the rows or records; None: they are numbered.
        suggestion: the column or field with a question for each of them.
        title: the field of a record with its title.
        records: the path to the list of records in an answer of an API, as "data.items"; None: the answer is the list.
        sheet: of a workbook; None: the first with rows.
    """

    max_characters: int = 5_000_000
    max_pages: int = 2_000
    max_rows: int = 50_000
    columns: tuple[str, ...] = ()
    record_id: str | None = None
    suggestion: str | None = None
    title: str | None = None
    records: str | None = None
    sheet: str | None = None


@dataclass
class Taken:
    """What was taken of a file.

    `left_out` names what was not: the key of a sentence (`part_…`) and the values that fill it. `kept` and `total` are
    numbers of the unit, `characters` is the length of the texts, and `cut_characters` what was cut off of texts.
    """

    loader: str = ""
    unit: Literal["pages", "rows"] | None = None
    kept: int = 0
    total: int = 0
    characters: int = 0
    cut_characters: int = 0
    left_out: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def take(self, reading: Reading) -> str:
        """Count a reading; returns its text."""
        self.unit, self.kept, self.total = reading.unit, reading.kept, reading.total
        self.left_out += reading.left_out
        self.count(len(reading.text), reading.characters)
        return reading.text

    def count(self, kept: int, total: int) -> None:
        """Count the characters of a text that was cut."""
        self.characters += kept
        self.cut_characters += total - kept

    @property
    def is_partial(self) -> bool:
        """Whether something was not taken."""
        return bool(self.left_out or self.cut_characters) or self.kept < self.total


class Loader(Protocol):
    """Makes documents of the bytes of one file."""

    name: ClassVar[str]
    version: ClassVar[int]
    """A higher number when the same bytes give other documents; then they are loaded and embedded again."""

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        """The documents, one after another. Raises Refused before the first one, or what its library raises for a
        broken file."""


def cut(text: str, options: LoadOptions, taken: Taken) -> str:
    """The text within the limit, counted. Raises Refused if there is none."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text:
        raise Refused("without_text")
    kept = text[: options.max_characters]
    taken.count(len(kept), len(text))
    return kept
