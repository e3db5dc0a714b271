"""The place in a list that the URL of a page, or a request of a program, names."""

from starlette.datastructures import QueryParams

from datalayer.cleaning import clean_text
from threadkeeper.web.pages.failures import InvalidInput

LONGEST_CURSOR = 2_200
"""Characters: enough for a name of 255 letters of any language within it, and a URL can have as many."""


def cursor_of(parameters: QueryParams) -> str | None:
    """The cursor in a URL; None for the first page of the list.

    Raises:
        InvalidInput: no list gives so long a one.
    """
    cursor = clean_text(parameters.get("cursor", "")) or None
    if cursor is not None and len(cursor) > LONGEST_CURSOR:
        raise InvalidInput("bad_cursor")
    return cursor
