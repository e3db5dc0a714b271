"""Clause numbers of a Word document: Word counts them when it shows the page, and the text does not contain them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError, fromstring

from threadkeeper.documents.worker.archive import entry_of
from threadkeeper.documents.worker.word_body import W

_COMBINED = re.compile(r"%\d[^%]*%\d")


def numbered_clauses(archive: zipfile.ZipFile, body: bytes) -> int:
    """How many paragraphs have a number of several parts, as "2.1", or belong to the same numbering.

    The converter counts each list from 1, so that their numbers are wrong or missing.
    """
    combined = _combined(_parsed(entry_of(archive, "word/numbering.xml")))
    if not combined:
        return 0
    styles = {
        style.get(f"{W}styleId")
        for style in _parsed(entry_of(archive, "word/styles.xml")).iter(f"{W}style")
        if _number(style) in combined
    }
    return sum(1 for paragraph in _parsed(body).iter(f"{W}p") if _is_clause(paragraph, combined, styles))


def _combined(numbering: Element) -> set[str | None]:
    """The ids of the numberings of which a level shows the number of another level too."""
    abstract = {
        one.get(f"{W}abstractNumId")
        for one in numbering.iter(f"{W}abstractNum")
        if any(_COMBINED.search(text) for text in _values(one, "lvlText"))
    }
    return {
        one.get(f"{W}numId")
        for one in numbering.iter(f"{W}num")
        if not abstract.isdisjoint(_values(one, "abstractNumId"))
    }


def _is_clause(paragraph: Element, combined: set[str | None], styles: set[str | None]) -> bool:
    number = _number(paragraph)
    if number is not None:
        return number in combined
    style = next(_values(paragraph, "pStyle"), None)
    return style is not None and style in styles


def _number(element: Element) -> str | None:
    return next(_values(element, "numId"), None)


def _values(element: Element, name: str) -> Iterator[str]:
    return (found.get(f"{W}val", "") for found in element.iter(f"{W}{name}"))


def _parsed(entry: bytes) -> Element:
    """The root of an entry; an empty one if there is none, or it is broken."""
    try:
        return fromstring(entry or b"<none/>")  # noqa: S314  a DOCTYPE was refused before
    except ParseError:
        return Element("none")
