"""Finds the threads of a user that contain all words of a search in one text: a title, a message, or a tool's input
or output.

Each token in the index begins with the key of its owner, so a search finds the user's own texts only. It finds texts
that are indexed already; `background.search_indexer` decides when that happens.

For a few hits, the texts are looked up first, then their threads. For words of many texts, that would read most of the
history for one page; as many of the newest threads contain such words, these are checked one after another. If the
newest ones do not fill the page, rare words are looked up after all, and for frequent words threads are checked until
the page is full. A page is one statement; on SQLite, it is a statement for rare words and perhaps one for frequent
words, and a few hits are looked up as all rare words are.
"""

from typing import Any, Final

from sqlalchemy import (
    CTE,
    BindParameter,
    ColumnElement,
    Executable,
    FromClause,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    literal_column,
    not_,
    select,
    true,
    union_all,
)

from datalayer.cleaning import clean_text
from datalayer.dialects import Dialect
from datalayer.history.search_tokens import owner_key, understood
from datalayer.schema.chat import search_texts, threads

MOST_HITS = 1_000
"""Words that are in more texts than this are frequent."""
FEW_HITS = 100
"""Words that are in at most this many texts are looked up before any thread is checked."""
WALKED = 200
"""How many of the newest threads are checked before rare words are looked up."""
WANTED: Final = bindparam("wanted", type_=Text, required=True)
"""The parameter of both conditions: what `wanted` gave."""


def wanted(dialect: type[Dialect], user_id: str, words: str) -> str | None:
    """The search query in the texts of this user; None if the words contain no token."""
    query = understood(clean_text(words))
    return None if query is None else dialect.search_query(owner_key(user_id), query)


def with_words(dialect: type[Dialect], every: Select[Any], by_id: Select[Any], most: BindParameter[int]) -> Executable:
    """A page of the threads that contain the words, where the engine `skips_needless_reads`.

    Args:
        every: the user's threads.
        by_id: the same, for a condition on their ids: no index of the user's threads is read.
        most: size of the page.
    """
    hits = _hits(dialect)
    few = _at_most(FEW_HITS, select(hits).limit(_number(FEW_HITS + 1)).subquery())
    newest = latest(every.where(not_(few)), threads, _number(WALKED)).cte("latest")
    met = latest(select(newest).where(_has_text(dialect, newest)), newest, most).cte("met")
    enough = select(func.count()).select_from(met).scalar_subquery() >= most
    # In a CASE, so that the other hits are not read if the newest threads are enough.
    rare = case((enough, false()), else_=_at_most(MOST_HITS, hits))
    frequent = case((enough, false()), else_=not_(_at_most(MOST_HITS, hits)))
    looked_up = by_id.where(rare, dialect.in_ids(threads.c.id, select(hits.c.threadId)))
    # Materialized before sorting, or Postgres may walk the whole list instead.
    found = looked_up.cte("looked_up").prefix_with("MATERIALIZED", dialect="postgresql")
    walked = latest(every.where(frequent, _has_text(dialect, threads)), threads, most).subquery("walked")
    all_three = union_all(select(met).where(enough), select(found), select(walked)).subquery()
    return latest(select(all_three), all_three, most)


def by_rare_words(dialect: type[Dialect]) -> ColumnElement[bool]:
    """A condition on `threads`, which is false for frequent words."""
    hits = _hits(dialect)
    return and_(_at_most(MOST_HITS, hits), dialect.in_ids(threads.c.id, select(hits.c.threadId)))


def by_frequent_words(dialect: type[Dialect]) -> ColumnElement[bool]:
    """A condition on `threads`, for a page in the order of an index, which is false for rare words."""
    over = select(search_texts.c.id).where(dialect.matches_words(WANTED)).limit(_number(1))
    return and_(exists(over.offset(_number(MOST_HITS))), _has_text(dialect, threads))


def _hits(dialect: type[Dialect]) -> CTE:
    """The threads of the first texts with the words. A CTE, of which Postgres reads as much as is asked for."""
    texts = select(search_texts.c.threadId).where(dialect.matches_words(WANTED))
    return texts.limit(_number(MOST_HITS + 1)).cte("hits")


def _at_most(number: int, hits: FromClause) -> ColumnElement[bool]:
    return select(func.count()).select_from(hits).scalar_subquery() <= _number(number)


def _has_text(dialect: type[Dialect], of: FromClause) -> ColumnElement[bool]:
    """Whether the thread has a text with the words."""
    # In a CASE, into which Postgres does not look: it would read the words of all of the user's texts for each thread.
    matches = case((dialect.matches_words(WANTED), true()), else_=false())
    text = select(search_texts.c.id).where(search_texts.c.threadId == of.c.id, matches)
    # A scalar and not EXISTS, which Postgres may turn into a join that begins with the texts.
    return text.correlate(of).limit(_number(1)).scalar_subquery().is_not(None)


def _number(number: int) -> ColumnElement[int]:
    return literal_column(str(number), Integer)


def latest(chosen: Select[Any], source: FromClause, most: ColumnElement[int]) -> Select[Any]:
    """The first rows of a selection, newest activity first."""
    return chosen.order_by(source.c.updatedAt.desc(), source.c.id.desc()).limit(most)
