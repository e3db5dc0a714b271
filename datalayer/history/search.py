"""Which threads hold the words that a user looks for: in the title, in what was said, in what tools took and gave.

One text must hold all of them. The index answers for the user's own texts alone, for each token in it begins with the
key of its owner. It knows what has been indexed; see `background.search_indexer` for when that is.

Two conditions find the same threads. By rare words: the texts are looked up, and then their threads. By frequent ones
that would be to look up most of the history for one page; but then one of the newest threads will have them, and the
next, so the threads are gone through until the page is full. Each condition is false where the other is the right one.
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
