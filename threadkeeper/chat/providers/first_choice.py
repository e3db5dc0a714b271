"""Finds the first choice, which is the answer, in the chunks of a stream.

A request asks for one choice, but some servers are set to send several. Others count their chunks in the index, as
Foundry Local and Text Generation Inference did. A counter rises with every chunk; the index of another choice comes
again. Until one of the two has happened, the chunks with another index are held back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Choice = dict[str, Any]

# So many rising indexes are a counter, and no server that answers in so many versions.
_MOST_HELD = 8


class FirstChoice:
    """Takes the choices of each chunk; returns those of the answer.

    Attributes:
        has_others: whether choices were left out.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._last = 0
        # Whether the index counts chunks; None as long as that is not known.
        self._counts: bool | None = None
        self._is_finished = False
        self._held: list[Choice] = []
        self.has_others = False

    def of(self, choices: Sequence[Any]) -> list[Choice]:
        """The choices of this chunk that belong to the answer, and those that were held back and do as well."""
        if len(choices) > 1:
            self._counts = False
            if self._first is None:
                indexes = [_index(one.get("index")) for one in choices if one]
                self._first = min((index for index in indexes if index is not None), default=None)
        # Some servers put None into the list.
        return [own for one in choices if one for own in self._take(one)] + self._released()

    @property
    def holds(self) -> bool:
        """Whether choices are held back."""
        return bool(self._held)

    def rest(self) -> list[Choice]:
        """What is held back, after the last chunk: nothing says that these are other choices."""
        held, self._held = self._held, []
        return held

    def _take(self, choice: Choice) -> list[Choice]:
        index = _index(choice.get("index"))
        if index is None or self._counts:
            return [choice]
        if self._first is None:
            self._first = self._last = index
            self._is_finished = bool(choice.get("finish_reason"))
            return [choice]
        if self._counts is None:
            self._judge(index)
        if index == self._first or self._counts:
            self._is_finished = self._is_finished or bool(choice.get("finish_reason"))
            return [choice]
        if self._counts is None:
            self._held.append(choice)
        else:
            self.has_others = True
        return []

    def _judge(self, index: int) -> None:
        rises, stays = index == self._last + 1, index == self._last == self._first
        self._last = index
        if not (rises or stays) or (rises and self._is_finished):
            self._counts = False
            self.has_others = self.has_others or bool(self._held)
            self._held.clear()

    def _released(self) -> list[Choice]:
        if self._counts is None and len(self._held) >= _MOST_HELD:
            self._counts = True
            return self.rest()
        return []


def _index(value: object) -> int | None:
    """The index of a choice; None if it has none."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:9])
    return value if isinstance(value, int) and not isinstance(value, bool) else None
