"""Cursor pages of lists that are read whole, because they are short; and the versions of records (`ETag`)."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Header, Query
from pydantic import Field

from datalayer import RecordChanged
from threadkeeper.web.api.problems import changed, invalid
from threadkeeper.web.api.shapes import LARGEST_PAGE
from threadkeeper.web.pages.cursors import LONGEST_CURSOR

T = TypeVar("T")

Cursor = Annotated[str | None, Query(max_length=LONGEST_CURSOR, description="The `next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE)]
IfMatch = Annotated[
    list[Annotated[str, Field(max_length=500)]] | None,
    Header(max_length=20, description="The `ETag` of the record as it was read; or several, or `*`."),
]
_MOST_TRIES = 20
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


def matching(if_match: Sequence[str] | None, tag_of: Callable[[T], str]) -> Callable[[T], bool] | None:
    """The condition that a record is still as its reader saw it, which the layer checks in the transaction of the
    change; None without one. A weak tag (`W/`) matches nothing (RFC 9110, 13.1.1).

    Args:
        if_match: the lines of the header.
        tag_of: gives the tag of a record.
    """
    if if_match is None:
        return None
    known = {one for line in if_match for one in _TAG.findall(line)}
    return None if "*" in known else lambda found: tag_of(found) in known


def demand_match(if_match: Sequence[str] | None, tag: str, what: str = "record") -> None:
    """Require that a record that was read is still as its reader saw it; the change itself needs `matching`.

    Raises:
        Problem: it was changed.
    """
    matches = matching(if_match, lambda _: tag)
    if matches is not None and not matches(None):
        raise changed(what)


async def tried_again(change: Callable[[], Awaitable[T]]) -> T:
    """Do a change that reads a record, and depends on it being still the same; again, if others change it in between.

    Raises:
        RecordChanged: every time.
    """
    for _ in range(_MOST_TRIES - 1):
        try:
            return await change()
        except RecordChanged:
            continue
    return await change()
