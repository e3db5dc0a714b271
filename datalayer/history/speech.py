"""The beginnings of answers without thought that was stored with them, by an earlier version or another application.

Only Python can tell thought from speech (`datalayer.thought`). So SQL gives the beginning of an answer that has no
thought in it, and as much as possible of one that may have some.
"""

from typing import Any

from sqlalchemy import ColumnElement, Integer, Text, case, func, literal_column, or_

from datalayer.history.search_tokens import MOST_CHARACTERS
from datalayer.thought import BLANK, CLOSING_STARTS, FIRST_CHARACTERS, speech_of


def may_hold_thought(output: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the text of an answer may have thought in it. True for some others, too, such as HTML."""
    begins = func.substr(func.ltrim(output, _text(BLANK)), _number(1), _number(1))
    return or_(
        begins.in_([_text(first) for first in sorted(FIRST_CHARACTERS)]),
        *(output.like(_text(f"%{start}%")) for start in CLOSING_STARTS),
    )


def start_of_answer(output: ColumnElement[Any], characters: int) -> ColumnElement[Any]:
    """The text that `speech_at_start` needs."""
    length = case((may_hold_thought(output), _number(MOST_CHARACTERS)), else_=_number(characters))
    return func.substr(output, _number(1), length)


def speech_at_start(start: str | None, characters: int) -> str | None:
    """The first characters of the answer, without its thought."""
    return speech_of(start)[:characters] if start else start


# Constants are in the text of the statement: the inbox keeps it and runs it again with parameters of its own.
def _number(value: int) -> ColumnElement[int]:
    return literal_column(str(value), Integer)


def _text(value: str) -> ColumnElement[str]:
    return literal_column(f"'{value}'", Text)
