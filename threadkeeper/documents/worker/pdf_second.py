"""The second reader of PDFs, pypdfium2, for what pypdf cannot read. It is there with the extra `knowledge`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from threadkeeper.documents.worker.reading import Refused


def second_page(data: bytes, number: int) -> str:
    """The text of a page, from 1; "" if the reader is not installed, or cannot read it."""
    if find_spec("pypdfium2") is None:
        return ""
    from pypdfium2 import PdfDocument, PdfiumError  # noqa: PLC0415  rarely needed

    try:
        with PdfDocument(data) as document:
            return _text_of(document[number - 1])
    except PdfiumError:
        return ""


def second_pages(data: bytes, most: int) -> tuple[list[str], int]:
    """The texts of at most so many pages, and the number of all pages. Raises Refused("broken")."""
    from pypdfium2 import PdfDocument, PdfiumError  # noqa: PLC0415

    try:
        document = PdfDocument(data)
    except PdfiumError:
        raise Refused("broken") from None
    with document:
        return [_text_of(document[at]) for at in range(min(len(document), most))], len(document)


def _text_of(page: Any) -> str:
    """The text inside the CropBox."""
    # `get_cropbox` and `get_mediabox` know nothing of boxes that a page inherits, and tell another size then.
    text = str(page.get_textpage().get_text_bounded(*page.get_bbox()))
    # PDFium writes U+0002 or U+FFFE for a hyphen at the end of a line, and leaves the end out.
    return text.replace("\r\n", "\n").replace("\x02", "-\n").replace("\ufffe", "-\n").strip()
