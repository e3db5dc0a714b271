"""Loads PDFs with pypdf, and what it cannot read with pypdfium2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pypdf.errors import PyPdfError

from threadkeeper.documents.worker.pdf import UNREADABLE, ranges, read_pages
from threadkeeper.documents.worker.pdf_second import second_pages
from threadkeeper.documents.worker.reading import Reading
from threadkeeper.knowledge.loaders.base import LoadedDocument, LoadOptions, Refused, Taken

_BETWEEN = "\n\n"


class PdfLoader:
    name: ClassVar[str] = "pdf"
    version: ClassVar[int] = 3

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        try:
            texts, reading = read_pages(
                data,
                max_pages=options.max_pages,
                max_characters=options.max_characters,
                shape=lambda _number, text: text,
            )
        except (PyPdfError, *UNREADABLE):
            texts, reading = _second_pages(data, options)
        begins, at = list[int](), 0
        for text in texts:
            begins.append(at)
            at += len(text) + len(_BETWEEN)
        whole = _BETWEEN.join(texts)
        reading.text, reading.characters = whole[: options.max_characters], len(whole)
        text = taken.take(reading)
        yield LoadedDocument(text, pages=tuple(begin for begin in begins if begin < len(text)))


def _second_pages(data: bytes, options: LoadOptions) -> tuple[list[str], Reading]:
    """The texts of all pages by the second reader, and what is not in them."""
    texts, total = second_pages(data, options.max_pages)
    reading = Reading(unit="pages", total=total, kept=len(texts))
    empty = [number for number, text in enumerate(texts, 1) if not text]
    if len(empty) == len(texts):
        raise Refused("without_text")
    reading.leave_out("part_pages_without_text", len(empty), numbers=ranges(empty), total=reading.total)
    return texts, reading
