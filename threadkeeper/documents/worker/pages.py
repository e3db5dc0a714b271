"""Cuts the pages of passages out of a PDF from standard input: a process of its own, with limits.

Arguments: seconds of CPU time, and a JSON array with a pair for each passage: the number of the page on which it
begins, from 1, and its last characters. Writes for each passage four bytes of length, and a PDF of its pages alone; the
length is 0 if there is no such page, or if the PDF is too large.
"""

from __future__ import annotations

import io
import json
import struct
import sys
from typing import Any

from threadkeeper.documents.worker.limits import limit

MOST_BYTES = 10 * 1024 * 1024
"""Of the pages of a passage."""
_MOST_PAGES = 3


def main() -> None:
    seconds, wanted = sys.argv[1:]
    data = sys.stdin.buffer.read()
    limit(float(seconds))
    from pypdfium2 import PdfDocument  # noqa: PLC0415  within the limits

    with PdfDocument(data) as document:
        for number, ending in json.loads(wanted):
            pages = _cut(document, _pages(document, number, ending)) if 1 <= number <= len(document) else b""
            pages = pages if len(pages) <= MOST_BYTES else b""
            sys.stdout.buffer.write(struct.pack(">I", len(pages)) + pages)
            sys.stdout.buffer.flush()


def _pages(document: Any, number: int, ending: str) -> list[int]:
    """The pages, from 0, from where a passage begins to where its last characters are; the first alone if these are on
    none of the next."""
    ending, first, text = _plain(ending), number - 1, ""
    for at in range(first, min(first + _MOST_PAGES, len(document))):
        text += _plain(document[at].get_textpage().get_text_range())
        if ending in text:
            return list(range(first, at + 1))
    return [first]


def _plain(text: str) -> str:
    """Letters and digits alone: readers of PDFs differ in white space and hyphens."""
    return "".join(character for character in text if character.isalnum())


def _cut(document: Any, pages: list[int]) -> bytes:
    from pypdfium2 import PdfDocument, raw  # noqa: PLC0415

    made, content = PdfDocument.new(), io.BytesIO()
    for at in pages:
        # Filled forms and notes become a part of the page: alone, they would point to what is not in it.
        raw.FPDFPage_Flatten(document[at], raw.FLAT_NORMALDISPLAY)
    with made:
        made.import_pages(document, pages)
        made.save(content)
    return content.getvalue()
