"""A long thread in pages, so that no more is drawn at once than is read: by messages, and by how much they say."""

from collections.abc import Sequence
from dataclasses import dataclass

from threadkeeper.web.pages.shell import BadAddress
from threadkeeper.web.review.transcript import ShownMessage

MOST_MESSAGES = 100
"""So many, half of them answers with six blocks of code and a formula, are a page of 750 kB in half a second."""
MOST_CHARACTERS = 200_000
"""Of what is rendered. A message that says more has a page of its own."""


@dataclass(frozen=True, slots=True)
class ThreadPage:
    """Some messages of a thread; pages and messages are counted from 1."""

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
    """The page that is asked for by its number; without one that of the wanted answer, else the first.

    Args:
        wanted: the id of an answer, or nothing.
        asked: the number as it stands in the address, or nothing.

    Raises:
        BadAddress: there is no page of this number.
    """
    starts = _starts(messages)
    if asked:
        if not asked.isdecimal() or not 1 <= int(asked[:9]) <= len(starts):
            raise BadAddress("bad_number", value=asked[:60], least=1, most=len(starts))
        number = int(asked[:9])
    else:
        place = next((at for at, one in enumerate(messages) if wanted and one.id == wanted), 0)
        number = sum(start <= place for start in starts)
    first = starts[number - 1]
    end = starts[number] if number < len(starts) else len(messages)
    return ThreadPage(tuple(messages[first:end]), number, len(starts), first + 1, len(messages))


def _starts(messages: Sequence[ShownMessage]) -> list[int]:
    """Where each page begins; a thread without messages has one page, too."""
    starts, characters = [0], 0
    for at, message in enumerate(messages):
        characters += message.characters
        if at - starts[-1] >= MOST_MESSAGES or (characters > MOST_CHARACTERS and at > starts[-1]):
            starts.append(at)
            characters = message.characters
    return starts
