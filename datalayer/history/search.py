"""Finds the threads of a user that contain all words of a search in one text: a title, a message, or a tool's input
or output.

Each token in the index begins with the key of its owner, so a search finds the user's own texts only. It finds texts
that are indexed already; `background.search_indexer` decides when that happens.

Two conditions find the same threads. For rare words, the texts are looked up first, then their threads. For frequent
words, that would read most of the history for one page; as many of the newest threads contain such words, threads are
checked from the newest on until the page is full. Each condition is false if the other one is faster.
"""

from typing import Final

from sqlalchemy import ColumnElement, Integer, Text, and_, bindparam, exists, func, literal_column, select

from datalayer.cleaning import clean_text
from datalayer.dialects import Dialect
from datalayer.history.search_tokens import owner_key, understood
from datalayer.schema.chat import search_texts, threads

MOST_HITS = 1_000
"""Words that are in more texts than this are frequent."""
WANTED: Final = bindparam("wanted", type_=Text, required=True)
"""The parameter of both conditions: what `wanted` gave."""


def wanted(dialect: type[Dialect], user_id: str, words: str) -> str | None:
    """The search query in the texts of this user; None if the words contain no token."""
    query = understood(clean_text(words))
    return None if query is None else dialect.search_query(owner_key(user_id), query)


def by_rare_words(dialect: type[Dialect]) -> ColumnElement[bool]:
    """A condition on `threads`."""
    hits = (
        select(search_texts.c.threadId)
        .where(dialect.matches_words(WANTED))
        .limit(literal_column(str(MOST_HITS + 1), Integer))
        .cte("hits")
    )
    rare = select(func.count()).select_from(hits).scalar_subquery() <= literal_column(str(MOST_HITS), Integer)
    return and_(rare, dialect.in_ids(threads.c.id, select(hits.c.threadId)))


def by_frequent_words(dialect: type[Dialect]) -> ColumnElement[bool]:
    """A condition on `threads`, for a page in the order of an index."""
    found = dialect.matches_words(WANTED)
    over = select(search_texts.c.id).where(found).limit(literal_column("1", Integer))
    frequent = exists(over.offset(literal_column(str(MOST_HITS), Integer)))
    text = select(search_texts.c.id).where(search_texts.c.threadId == threads.c.id, found).correlate(threads)
    # The offset keeps the planner from turning this around.
    return and_(frequent, exists(text.offset(literal_column("0", Integer))))
