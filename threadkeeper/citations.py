"""Citations in an answer: numbers in square brackets that name passages, outside of code, formulas, links and tags.

Chainlit's page makes a link of each place with the name of an element of the message, in code too. So the elements have
a name that no model writes, and citations get it on their way to the page. What is stored stays as the model wrote it.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from threadkeeper.formulas.page import NOT_PROSE, paragraphs
from threadkeeper.formulas.recognition import Paragraph

CITED, SOURCES = "cited", "sources"
"""Keys in the metadata of an answer: the numbers that have an element, and a sentence about the passages of an answer
that cites none."""
PASSAGE = "passage"
"""The key of the facts of a passage in the `props` of its element: number, title, page, score."""
_MARK = "\u2060"
_BETWEEN = r"\s?[,;，、；]\s?"
_CITATION = rf"[\[［【]\^?(?P<numbers>\d{{1,2}}(?:{_BETWEEN}\d{{1,2}})*)[\]］】](?!\()"
_CITATIONS = re.compile(rf"(?P<citation>{_CITATION})|{NOT_PROSE}", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Citation:
    """Where an answer cites: from `begin` to before `end`, and the numbers."""

    begin: int
    end: int
    numbers: tuple[int, ...]


def element_name(number: int) -> str:
    """The name of the element of a passage, by which the page links it."""
    return f"[{number}{_MARK}]"


def citations(text: str, known: Collection[int]) -> Iterator[Citation]:
    """The citations of these passages, in order. Brackets with another number are text."""
    if not any(bracket in text for bracket in "[［【"):
        return
    for begin, end in paragraphs(text):
        paragraph, at = Paragraph(text[begin:end]), 0
        while (mark := _CITATIONS.search(paragraph.text, at)) is not None:
            at = mark.end()
            if mark["citation"]:
                numbers = tuple(int(one[0]) for one in _NUMBER.finditer(mark["numbers"]))
                if all(number in known for number in numbers):
                    yield Citation(begin + mark.start(), begin + at, numbers)
            elif mark[0][0] == "`":
                at = paragraph.code_at(mark.start(), len(paragraph.text)) or at
            elif mark[0][0] == "$" or mark[0] in ("\\(", "\\["):
                formula = paragraph.formula_at(mark.start())
                at = formula.end if formula is not None else at


def cited_numbers(text: str, known: Collection[int]) -> list[int]:
    """The numbers of the passages that an answer cites, in the order in which it does first."""
    return list(dict.fromkeys(number for one in citations(text, known) for number in one.numbers))


def for_page(text: str, metadata: object) -> str:
    """The text of an answer with this metadata as Chainlit's page must get it: its citations have the names of their
    elements, and below it stands what is said of its passages if it cites none."""
    if not isinstance(metadata, dict):
        return text
    cited, sources = metadata.get(CITED), metadata.get(SOURCES)
    known = {number for number in cited if isinstance(number, int)} if isinstance(cited, list) else set()
    if known:
        pieces, at = list[str](), 0
        for one in citations(text, known):
            pieces += (text[at : one.begin], *map(element_name, one.numbers))
            at = one.end
        text = "".join([*pieces, text[at:]])
    return f"{text.rstrip()}\n\n*{sources}*" if isinstance(sources, str) and sources and text.strip() else text
