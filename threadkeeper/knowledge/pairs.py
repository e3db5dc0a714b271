"""Questions and answers as their owner edits them: the file of a data source of the kind "pairs" is a CSV file.

People edit at the same time. A change names the pair that it changes by its key, so changes of different pairs are both
stored, and one of a pair that somebody else changed meanwhile is told.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

from threadkeeper.knowledge.loaders.base import Taken
from threadkeeper.knowledge.loading import Load, LoadLimits

MIME = "text/csv"
LONGEST_QUESTION = 2_000
LONGEST_ANSWER = 20_000
"""Characters of a pair that is edited."""

Problem = Literal["incomplete", "long", "repeated", "changed"]


@dataclass(frozen=True, slots=True)
class Pair:
    question: str
    answer: str

    @property
    def key(self) -> str:
        """Tells the pair from all others; another text has another key."""
        return hashlib.sha256(json.dumps([self.question, self.answer]).encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class EditedPair:
    """A row of the table as somebody edited it.

    Args:
        key: of the pair that it was; "" for a new one.
        is_removed: whether the pair is to be removed.
    """

    key: str
    question: str
    answer: str
    is_removed: bool = False

    @property
    def pair(self) -> Pair:
        return Pair(self.question.strip(), self.answer.strip())

    @property
    def is_changed(self) -> bool:
        """Whether there is something to store."""
        if not self.key:
            return not self.is_removed and bool(self.pair.question or self.pair.answer)
        return self.is_removed or self.pair.key != self.key


@dataclass
class Merged:
    """The pairs with changes. `problems` are those of rows, by their place; with any, nothing is to be stored."""

    pairs: list[Pair]
    problems: dict[int, Problem] = field(default_factory=dict)


async def read_pairs(content: bytes, limits: LoadLimits) -> tuple[list[Pair], Taken]:
    """The pairs of a file, and what of it is no pair.

    Raises:
        LoadRefused: it contains none, or cannot be read.
    """
    load = Load("pairs", "pairs.csv", content, limits)
    found = []
    async with aclosing(load.documents()) as documents:
        async for one in documents:
            # The text of the document is the question, an empty line, and the answer.
            texts = (one.key, one.text[len(one.key) + 2 :])
            found.append(Pair(*(text.replace("\r\n", "\n").replace("\r", "\n") for text in texts)))
    return found, load.taken


def written(pairs: Sequence[Pair]) -> bytes:
    """The file of pairs, as `read_pairs` reads it."""
    out = io.StringIO(newline="")
    rows = csv.writer(out, quoting=csv.QUOTE_ALL)
    rows.writerow(("question", "answer"))
    rows.writerows((one.question, one.answer) for one in pairs)
    return out.getvalue().encode()


def merged(stored: Sequence[Pair], rows: Sequence[EditedPair]) -> Merged:
    """The stored pairs with the changes of these rows. New pairs come last."""
    places = {pair.key: place for place, pair in enumerate(stored)}
    changed: dict[int, Pair | None] = {}
    problems: dict[int, Problem] = {}
    added: list[tuple[int, Pair]] = []
    edited: list[tuple[int, int]] = []
    for at, row in enumerate(rows):
        if not row.is_changed:
            continue
        pair, place = row.pair, places.get(row.key)
        if not row.is_removed and not (pair.question and pair.answer):
            problems[at] = "incomplete"
        elif len(pair.question) > LONGEST_QUESTION or len(pair.answer) > LONGEST_ANSWER:
            problems[at] = "long"
        elif row.key and place is None:
            problems[at] = "changed"
        elif place is None:
            added.append((at, pair))
        else:
            changed[place] = None if row.is_removed else pair
            edited.append((at, place))
    kept = {pair.question for place, pair in enumerate(stored) if place not in changed}
    for at, pair in [*((at, new) for at, place in edited if (new := changed[place]) is not None), *added]:
        if pair.question in kept:
            problems[at] = "repeated"
        kept.add(pair.question)
    pairs = [new for place, old in enumerate(stored) if (new := changed.get(place, old)) is not None]
    return Merged([*pairs, *(pair for _, pair in added)], problems)
