"""Cursor pages of lists that are read whole, because they are short."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Header, Query

from threadkeeper.web.api.problems import Problem, invalid
from threadkeeper.web.api.shapes import LARGEST_PAGE

T = TypeVar("T")

Cursor = Annotated[str | None, Query(max_length=2_000, description="The `next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE)]
IfMatch = Annotated[str | None, Header(max_length=500, description="The `ETag` of the record as it was read.")]


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


def demand_match(if_match: str | None, etag: str) -> None:
    """Require that a record is still as its reader saw it.

    Raises:
        Problem: it was changed.
    """
    known = {one.strip().removeprefix("W/") for one in (if_match or "").split(",")}
    if if_match is not None and not known & {"*", etag}:
        sentence = "The record was changed meanwhile. Read it again."
        raise Problem(412, "changed", sentence, [("header.if-match", "it is of an older version")])
