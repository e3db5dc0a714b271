"""Keeps the terms of an HTML page together with what they mean: trafilatura makes list items of both, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.html import HtmlElement  # type: ignore[import-untyped]

_BLOCKS = {"p", "div", "ul", "ol", "dl", "table", "pre", "blockquote", "section", "h1", "h2", "h3", "h4", "h5", "h6"}
_ENDINGS = tuple(":?!.;\uff1a\uff1f\uff01\u3002")


def keep_definitions(page: HtmlElement) -> None:
    """Make an item "term: meaning" of each term; a heading of one whose meaning has paragraphs or lists."""
    for definitions in [*page.iter("dl")]:
        pairs = [*_pairs(definitions)]
        if any(_has_blocks(one) for _, meanings in pairs for one in meanings):
            definitions.tag = "div"
            for terms, meanings in pairs:
                for term in terms:
                    term.tag = "h4"
                for meaning in meanings:
                    meaning.tag = "div" if _has_blocks(meaning) else "p"
        else:
            definitions.tag = "ul"
            for terms, meanings in pairs:
                _join(terms, meanings)


def _pairs(definitions: HtmlElement) -> list[tuple[list[HtmlElement], list[HtmlElement]]]:
    """The terms, each group with the meanings that follow it. Groups may stand in a `div` each."""
    for group in [*definitions.iterchildren("div")]:
        group.drop_tag()
    pairs: list[tuple[list[HtmlElement], list[HtmlElement]]] = []
    for child in definitions.iterchildren("dt", "dd"):
        if child.tag == "dt" and (not pairs or pairs[-1][1]):
            pairs.append(([], []))
        if pairs:
            pairs[-1][child.tag == "dd"].append(child)
    return pairs


def _join(terms: list[HtmlElement], meanings: list[HtmlElement]) -> None:
    """Make one list item of terms and meanings: the first term, with the others appended to it."""
    item, *others = terms + meanings
    item.tag = "li"
    for at, other in enumerate(others, 1):
        text = item.text_content().rstrip()
        separator = ", " if at < len(terms) else "; "
        if at == len(terms):
            separator = " " if text.endswith(_ENDINGS) else ": "
        other.tag, other.tail = "span", None
        other.text = separator + (other.text or "").lstrip()
        item.append(other)


def _has_blocks(element: HtmlElement) -> bool:
    return any(one.tag in _BLOCKS for one in element.iterdescendants())
