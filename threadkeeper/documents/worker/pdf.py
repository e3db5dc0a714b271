"""Reads the text of a PDF page by page: with pypdf, and the pages that it cannot read with the second reader."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from unicodedata import category

from pypdf import PageObject, PdfReader
from pypdf.errors import PyPdfError

from threadkeeper.documents.worker.pdf_forms import filled_in
from threadkeeper.documents.worker.pdf_second import second_page
from threadkeeper.documents.worker.pdf_shown import text_of
from threadkeeper.documents.worker.reading import Reading, Refused

# What pypdf raises for a page or a file that it cannot read.
UNREADABLE = (PyPdfError, ValueError, TypeError, KeyError, AttributeError, LookupError, ArithmeticError)

_GLYPH_NAME = re.compile(r"/(?:g|gid|glyph|cid|index|c)\d+", re.IGNORECASE)


def read_pdf(data: bytes, *, max_pages: int, max_characters: int) -> Reading:
    """The pages below each other, each under its number. Raises Refused, or what pypdf raises for a broken file."""
    texts, reading = read_pages(data, max_pages=max_pages, max_characters=max_characters, shape=_marked)
    whole = "\n".join(texts)
    reading.text, reading.characters = whole[:max_characters], len(whole)
    return reading


def read_pages(
    data: bytes,
    *,
    max_pages: int,
    max_characters: int,
    shape: Callable[[int, str], str],
) -> tuple[list[str], Reading]:
    """The texts of the pages, and what is not in them. Raises Refused, or what pypdf raises for a broken file.

    Args:
        shape: makes the text of a page of its number, from 1, and of what was read.
    """
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise Refused("encrypted")
    reading = Reading(unit="pages", total=len(reader.pages))
    texts, characters = list[str](), 0
    empty, unreadable, forms, pictures = list[int](), list[int](), list[int](), set[object]()
    has_text = False
    for number in range(1, min(reading.total, max_pages) + 1):
        page = reader.pages[number - 1]
        try:
            text = text_of(page, lambda number=number: second_page(data, number)).strip()  # type: ignore[misc]
        except UNREADABLE:
            text = second_page(data, number)
            if not text:
                unreadable.append(number)
        try:
            filled = filled_in(page)
        except UNREADABLE:
            forms.append(number)
            filled = []
        if is_garbled(text):
            text = ""
        text = "\n".join([*([text] if text else []), *filled])
        has_text = has_text or bool(text)
        if text:
            pictures.update(_pictures(page))
        elif number not in unreadable:
            empty.append(number)
        texts.append(shape(number, text))
        characters += len(texts[-1])
        if characters >= max_characters:
            break
    reading.kept = len(texts)
    if not has_text:
        raise Refused("broken" if unreadable else "without_text")
    reading.leave_out("part_pages_without_text", len(empty), numbers=ranges(empty), total=reading.total)
    reading.leave_out("part_pages_unreadable", len(unreadable), numbers=ranges(unreadable), total=reading.total)
    reading.leave_out("part_forms_unreadable", len(forms), numbers=ranges(forms))
    reading.leave_out("part_pictures", len(pictures))
    reading.leave_out("part_embedded", sum(1 for _ in reader.attachment_list))
    return texts, reading


def is_garbled(text: str) -> bool:
    """Whether most of the text are names or numbers of glyphs: the fonts do not say which characters they are."""
    rest = _GLYPH_NAME.sub("", text)
    odd = (
        len(text)
        - len(rest)
        + sum(one == "\ufffd" or category(one) in ("Co", "Cc", "Cn") for one in rest if not one.isspace())
    )
    return odd * 2 > len("".join(text.split()))


def ranges(numbers: Iterable[int]) -> str:
    """Numbers in order, as in "2–6, 9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in runs)


def _marked(number: int, text: str) -> str:
    return f"[Page {number}]\n{text}\n"


def _pictures(page: PageObject) -> Iterator[object]:
    """What tells the pictures of a page apart; a logo on each page is one picture."""
    resources = page.get("/Resources")
    objects = resources.get_object().get("/XObject") if resources is not None else None
    if objects is None:
        return
    for name, reference in objects.get_object().items():
        found = reference.get_object()
        if found is not None and found.get("/Subtype") == "/Image":
            yield getattr(reference, "idnum", (id(page), name))
