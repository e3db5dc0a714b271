"""Loads PDFs with pypdf, and the pages that it cannot read with pypdfium2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pypdf.errors import PyPdfError

from threadkeeper.documents.worker.pdf import UNREADABLE, ranges, read_pages
from threadkeeper.documents.worker.reading import Reading
from threadkeeper.knowledge.loaders.base import LoadedDocument, LoadOptions, Refused, Taken

_BETWEEN = "\n\n"


class PdfLoader:
    name: ClassVar[str] = "pdf"
    version: ClassVar[int] = 2

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        try:
            texts, reading = read_pages(
                data,
                max_pages=options.max_pages,
                max_characters=options.max_characters,
                shape=lambda _number, text: text,
                fallback=lambda number: _second_page(data, number),
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


def _second_page(data: bytes, number: int) -> str:
    """The text of a page, from 1, by the second reader; "" if it fails too."""
    from pypdfium2 import PdfDocument, PdfiumError  # noqa: PLC0415  rarely needed

    try:
        with PdfDocument(data) as document:
            return _text_of(document[number - 1])
    except PdfiumError:
        return ""


def _second_pages(data: bytes, options: LoadOptions) -> tuple[list[str], Reading]:
    """The texts of all pages by the second reader, and what is not in them."""
    from pypdfium2 import PdfDocument, PdfiumError  # noqa: PLC0415

    try:
        document = PdfDocument(data)
    except PdfiumError:
        raise Refused("broken") from None
    with document:
        reading = Reading(unit="pages", total=len(document))
        texts = [_text_of(document[at]) for at in range(min(reading.total, options.max_pages))]
    reading.kept = len(texts)
    empty = [number for number, text in enumerate(texts, 1) if not text]
    if len(empty) == len(texts):
        raise Refused("without_text")
    reading.leave_out("part_pages_without_text", len(empty), numbers=ranges(empty), total=reading.total)
    return texts, reading


def _text_of(page: Any) -> str:
    # PDFium writes U+FFFE for a hyphen at the end of a line, and leaves the end out.
    text = str(page.get_textpage().get_text_range()).replace("\r\n", "\n").replace("\ufffe", "-\n")
    return text.strip()
