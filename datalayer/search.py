"""Which threads hold the words a user is looking for: in the name, in what was said, in what tools took and gave."""

from sqlalchemy import ColumnElement, exists, or_

from datalayer.cleaning import clean_text
from datalayer.dialects import Dialect
from datalayer.schema import steps, threads


def matches(dialect: Dialect, words: str) -> ColumnElement[bool]:
    """A condition on `threads`, for a query that is already narrowed to one user."""
    wanted = clean_text(words).strip()
    in_text = or_(dialect.contains(steps.c.output, wanted), dialect.contains(steps.c.input, wanted))
    return or_(dialect.contains(threads.c.name, wanted), exists().where(steps.c.threadId == threads.c.id, in_text))
