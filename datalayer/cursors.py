"""Cursors: the end of a page of a list, as an opaque text.

A cursor contains the sort values of the last row, so it stays valid when that row is deleted.
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


def encode(*parts: str) -> str:
    """The cursor of a place that is given by these texts, such as a time and an id."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def decode(cursor: str, *readers: Callable[[str], Any]) -> list[Any]:
    """The parts of the cursor, each as its reader gives it.

    Args:
        readers: one for each part; None, ValueError or InvalidOperation from a reader mean that the part is not valid.

    Raises:
        InvalidRecord: the cursor is not valid.
    """
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise InvalidRecord(_INVALID, field="cursor")
        values = [read(part) for read, part in zip(readers, parts, strict=True)]
    except (ValueError, binascii.Error, InvalidOperation, RecursionError):
        raise InvalidRecord(_INVALID, field="cursor") from None
    if any(value is None for value in values):
        raise InvalidRecord(_INVALID, field="cursor")
    return values


def decode_number(cursor: str) -> int:
    """The number of a list that is sorted by one, whose cursors are the numbers themselves.

    Raises:
        InvalidRecord: the cursor is not valid.
    """
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _MOST_DIGITS):
        raise InvalidRecord(_INVALID, field="cursor")
    return int(cursor)
