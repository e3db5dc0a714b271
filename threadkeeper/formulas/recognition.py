r"""Where a formula begins and ends inside of a paragraph.

A single dollar follows pandoc's rule, so that amounts of money stay text: the opening dollar has a character other than
white space after it, the closing one a character other than white space before it and no digit after it, and the first
dollar that follows decides. Beyond pandoc: an amount in Chinese, Japanese or Korean text without spaces is no formula
(`$5，公式$x$`). Several dollars close with as many. `\(` closes with `\)`, `\[` with `\]`.
https://pandoc.org/MANUAL.html#extension-tex_math_dollars
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Delimiter = Literal["$", "(", "["]

_RUN = re.compile(r"\$+")
_BACKTICKS = re.compile("`+")
_IN_DOLLARS = re.compile(r"\\.|`+|\$+", re.DOTALL)
_CJK = r"[\u2e80-\u30ff\u3400-\u9fff\uac00-\ud7ff\uff00-\uffef]"
_AMOUNT = re.compile(rf"\d[^$]*{_CJK}|[\u3001-\u3011\uff00-\uff1f]", re.DOTALL)
_CLOSERS = {"(": "\\)", "[": "\\]"}


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula in a text: its TeX, the position after it, and its delimiter, with the number of dollars."""

    tex: str
    end: int
    delimiter: Delimiter
    dollars: int = 0


class Paragraph:
    """A text in which formulas are found. Positions of closing marks are kept: an unclosed formula costs no scan."""

    def __init__(self, text: str) -> None:
        self.text = text

    def formula_at(self, position: int, end: int | None = None) -> Formula | None:
        r"""The formula that begins with the dollars, the `\(` or the `\[` at this position; None if there is none.

        Args:
            position: before the dollars or the backslash.
            end: where the text ends; by default its length.
        """
        end = len(self.text) if end is None else end
        if self.text[position] == "\\":
            return self._between_brackets(position, end)
        dollars = run_at(self.text, position, end)
        return self._in_single_dollars(position, end) if dollars == 1 else self._in_dollars(position, dollars, end)

    def code_at(self, position: int, end: int) -> int | None:
        """The position after the code between backticks that begins here; None if the backticks are never closed."""
        length = len(_BACKTICKS.match(self.text, position)[0])  # type: ignore[index]
        if self._last_backticks.get(length, -1) <= position:
            return None
        runs: Iterator[re.Match[str]] = _BACKTICKS.finditer(self.text, position + length, end)
        return next((run.end() for run in runs if len(run[0]) == length), None)

    def _in_single_dollars(self, position: int, end: int) -> Formula | None:
        begin = position + 1
        if begin >= end or self.text[begin].isspace():
            return None
        for mark in _IN_DOLLARS.finditer(self.text, begin, end):
            if mark[0][0] == "`" and self._last_backticks.get(len(mark[0]), -1) > mark.start():
                # Code begins before the formula ends.
                return None
            if mark[0][0] == "$":
                close = mark.start()
                is_closed = len(mark[0]) == 1 and not self.text[close - 1].isspace()
                if not is_closed or (mark.end() < end and self.text[mark.end()].isdecimal()):
                    return None
                if _AMOUNT.match(self.text, begin, close):
                    return None
                return Formula(self.text[begin:close], mark.end(), "$", 1)
        return None

    def _in_dollars(self, position: int, dollars: int, end: int) -> Formula | None:
        begin = position + dollars
        if self._last_dollars.get(dollars, -1) <= position:
            return None
        for run in _RUN.finditer(self.text, begin, end):
            if len(run[0]) == dollars:
                return Formula(self.text[begin : run.start()], run.end(), "$", dollars)
        return None

    def _between_brackets(self, position: int, end: int) -> Formula | None:
        delimiter: Delimiter = "(" if self.text[position + 1 : position + 2] == "(" else "["
        begin, closer = position + 2, _CLOSERS[delimiter]
        if self._last_closer[delimiter] < begin:
            return None
        close = self.text.find(closer, begin, end)
        # `\\]` is a line break of TeX before a bracket.
        while close > 0 and _is_escaped(self.text, close):
            close = self.text.find(closer, close + 1, end)
        if close < 0 or not self.text[begin:close].strip():
            return None
        return Formula(self.text[begin:close], close + 2, delimiter)

    @cached_property
    def _last_dollars(self) -> dict[int, int]:
        return {len(run[0]): run.start() for run in _RUN.finditer(self.text)}

    @cached_property
    def _last_backticks(self) -> dict[int, int]:
        return {len(run[0]): run.start() for run in _BACKTICKS.finditer(self.text)}

    @cached_property
    def _last_closer(self) -> dict[str, int]:
        return {delimiter: self.text.rfind(closer) for delimiter, closer in _CLOSERS.items()}


def run_at(text: str, position: int, end: int) -> int:
    """How many dollars begin at this position."""
    run = _RUN.match(text, position, end)
    return len(run[0]) if run else 0


def _is_escaped(text: str, position: int) -> bool:
    before = position
    while before > 0 and text[before - 1] == "\\":
        before -= 1
    return (position - before) % 2 == 1
