"""Cursors: the end of a page of a list, as an opaque text.

A cursor contains the name of the list and the sort values of the last row, so it stays valid when that row is deleted,
and one of another list is refused.
"""

import base64
import binascii
import json
from collections.abc import Callable
from decimal import InvalidOperation
from typing import Any

from datalayer.errors import InvalidRecord

_INVALID = "the cursor is not valid: use one that a page of this list gave, or none to begin at the start"
_MOST_DIGITS = 18


def encode(of: str, *parts: str) -> str:
    """The cursor of a place in the list `of` that is given by these texts, such as a time and an id."""
    return base64.urlsafe_b64encode(json.dumps([of, *parts]).encode()).decode()


def decode(cursor: str, of: str, *readers: Callable[[str], Any]) -> list[Any]:
    """The parts of the cursor, each as its reader gives it.

    Args:
        of: the name of the list.
        readers: one for each part; None, ValueError or InvalidOperation from a reader mean that the part is not valid.

    Raises:
        InvalidRecord: the cursor is not valid, or of another list.
    """
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts) or parts[:1] != [of]:
            raise InvalidRecord(_INVALID, field="cursor")
        values = [read(part) for read, part in zip(readers, parts[1:], strict=True)]
    except (ValueError, binascii.Error, InvalidOperation, RecursionError):
        raise InvalidRecord(_INVALID, field="cursor") from None
    if any(value is None for value in values):
        raise InvalidRecord(_INVALID, field="cursor")
    return values


def number(text: str) -> int:
    """A reader of whole numbers that a database can store.

    Raises:
        ValueError: the text is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise ValueError(f"not a number of at most {_MOST_DIGITS} digits")
    return int(text)
