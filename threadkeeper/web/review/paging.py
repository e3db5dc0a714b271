"""Splits a long thread into pages, by the number of messages and by their length."""

from collections.abc import Sequence
from dataclasses import dataclass

from threadkeeper.web.pages.failures import InvalidInput
from threadkeeper.web.review.transcript import ShownMessage

MOST_MESSAGES = 100
"""Messages a page. If half of them are answers with six blocks of code and a formula, the page has 750 kB and takes
half a second."""
MOST_CHARACTERS = 200_000
"""Rendered characters a page. A longer message gets its own page."""


@dataclass(frozen=True, slots=True)
class ThreadPage:
    """A page of a thread. Pages and messages are numbered from 1."""

    messages: tuple[ShownMessage, ...]
    number: int
    pages: int
    first: int
    total: int

    @property
    def last(self) -> int:
        return self.first + len(self.messages) - 1

    @property
    def is_last(self) -> bool:
        return self.number == self.pages


def page_of(messages: Sequence[ShownMessage], wanted: str, asked: str) -> ThreadPage:
    """The page of this number; without a number, the page with the wanted answer, else the first.

    Args:
        messages: of the whole thread, in order.
        wanted: the id of an answer, or "".
        asked: the page number as in the URL, or "".

    Raises:
        InvalidInput: there is no page of this number.
    """
    starts = _starts(messages)
    if asked:
        if not asked.isdecimal() or not 1 <= int(asked[:9]) <= len(starts):
            raise InvalidInput("bad_number", value=asked[:60], least=1, most=len(starts))
        number = int(asked[:9])
    else:
        place = next((at for at, one in enumerate(messages) if wanted and one.id == wanted), 0)
        number = sum(start <= place for start in starts)
    first = starts[number - 1]
    end = starts[number] if number < len(starts) else len(messages)
    return ThreadPage(tuple(messages[first:end]), number, len(starts), first + 1, len(messages))


def _starts(messages: Sequence[ShownMessage]) -> list[int]:
    """The index of the first message of each page. An empty thread has one page."""
    starts, characters = [0], 0
    for at, message in enumerate(messages):
        characters += message.characters
        if at - starts[-1] >= MOST_MESSAGES or (characters > MOST_CHARACTERS and at > starts[-1]):
            starts.append(at)
            characters = message.characters
    return starts
