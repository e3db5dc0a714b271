"""Keeps the numbers of the ordered lists of an HTML page, which trafilatura counts from 1.

The passage with "clause 5 (b)" is then found by that name, and an answer cites the number that the page shows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.html import HtmlElement  # type: ignore[import-untyped]

_WHOLE = re.compile(r"\s*([+-]?[0-9]{1,9})")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_ROMAN = {
    1000: "m", 900: "cm", 500: "d", 400: "cd", 100: "c", 90: "xc", 50: "l", 40: "xl", 10: "x", 9: "ix", 5: "v", 4: "iv",
    1: "i",
}  # fmt: skip
_LARGEST_ROMAN = 3999


def keep_numbers(page: HtmlElement) -> None:
    """Write the numbers of the lists that do not count 1, 2, 3 into their items."""
    for ordered in [*page.iter("ol")]:
        items = [one for one in ordered if one.tag == "li"]
        numbers = _numbers(ordered, items)
        labels = [_label(number, ordered.get("type", "1")) for number in numbers]
        if labels == [str(place) for place in range(1, len(items) + 1)]:
            continue
        ordered.tag = "ul"
        for item, label in zip(items, labels, strict=True):
            _begin(item, f"({label}) ")  # Markdown would need a backslash after "5.".


def _numbers(ordered: HtmlElement, items: list[HtmlElement]) -> list[int]:
    """The number of each item, as a browser counts."""
    step = 1 if ordered.get("reversed") is None else -1
    number = _whole(ordered.get("start"), 1 if step == 1 else len(items))
    numbers = []
    for item in items:
        number = _whole(item.get("value"), number)
        numbers.append(number)
        number += step
    return numbers


def _whole(text: str | None, otherwise: int) -> int:
    found = _WHOLE.match(text or "")
    return int(found[1]) if found else otherwise


def _label(number: int, style: str) -> str:
    """The number as the page shows it: in digits, letters or Roman numerals."""
    written = str(number)
    if style in ("a", "A") and number > 0:
        written = _letters(number)
    elif style in ("i", "I") and 0 < number <= _LARGEST_ROMAN:
        written = _roman(number)
    return written.upper() if style in ("A", "I") else written


def _letters(number: int) -> str:
    written = ""
    while number:
        number, place = divmod(number - 1, len(_ALPHABET))
        written = _ALPHABET[place] + written
    return written


def _roman(number: int) -> str:
    written = ""
    for value, numeral in _ROMAN.items():
        times, number = divmod(number, value)
        written += numeral * times
    return written


def _begin(item: HtmlElement, label: str) -> None:
    """Put the label before the first text of the item, which may be in a paragraph or in a link."""
    first = next((one for one in item.iter() if isinstance(one.tag, str) and (one.text or "").strip()), item)
    first.text = label + (first.text or "").lstrip()
