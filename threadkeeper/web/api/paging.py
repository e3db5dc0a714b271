"""Cursor pages of lists that are read whole, because they are short; and the versions of records (`ETag`)."""

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Header, Query
from pydantic import Field

from threadkeeper.web.api.problems import Problem, invalid
from threadkeeper.web.api.shapes import LARGEST_PAGE

T = TypeVar("T")

Cursor = Annotated[str | None, Query(max_length=2_000, description="The `next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE)]
IfMatch = Annotated[
    list[Annotated[str, Field(max_length=500)]] | None,
    Header(max_length=20, description="The `ETag` of the record as it was read; or several, or `*`."),
]
_TAG = re.compile(r'(?:W/)?"[^"]*"|\*')


def page_of(items: Sequence[T], name: Callable[[T], str], cursor: str | None, limit: int) -> tuple[list[T], str | None]:
    """The items behind the cursor, in their order, and the cursor of the next page.

    Args:
        items: the whole list.
        name: gives the name of an item, which is the cursor behind it.
        cursor: None for the first page.
        limit: of the page.

    Raises:
        Problem: no item has the name of the cursor.
    """
    begin = 0
    if cursor is not None:
        names = [name(one) for one in items]
        if cursor not in names:
            raise invalid("query.cursor", "it is not a cursor of this list, or its record was deleted")
        begin = names.index(cursor) + 1
    page = list(items[begin : begin + limit])
    return page, name(page[-1]) if begin + limit < len(items) else None


def etag(*parts: object) -> str:
    """The tag of a record of which these parts can be changed."""
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def demand_match(if_match: Sequence[str] | None, tag: str, what: str = "record") -> None:
    """Require that a record is still as its reader saw it. A weak tag (`W/`) matches nothing (RFC 9110, 13.1.1).

    Raises:
        Problem: it was changed.
    """
    if if_match is None:
        return
    known = {one for line in if_match for one in _TAG.findall(line)}
    if not known & {"*", tag}:
        sentence = f"The {what} was changed meanwhile. Read it again."
        raise Problem(412, "changed", sentence, [("header.if-match", "it is of an older version")])
