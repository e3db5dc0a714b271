"""The filter of a user's threads by their own vote, as one statement that is fast for rare and for frequent votes."""

from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Executable,
    FromClause,
    Integer,
    Select,
    bindparam,
    func,
    literal_column,
    not_,
    select,
    union_all,
)

from datalayer.dialects import Dialect
from datalayer.schema.chat import feedbacks, threads

# How many threads from the top of the list are checked for the vote one after another.
_WALKED: ColumnElement[int] = literal_column("1000", Integer)


def with_vote(
    dialect: type[Dialect], every: Select[Any], user_id: BindParameter[Any], most: BindParameter[int]
) -> Executable:
    """A page of the threads in which the user gave this vote.

    The newest threads are checked one after another, which fills the page quickly if the vote is frequent. If they do
    not fill it, all threads with the vote are looked up and sorted, which is quick if it is rare.

    Args:
        every: the user's threads.
        user_id: whose votes count.
        most: size of the page.
    """
    thumbs = [feedbacks.c.userId == user_id, feedbacks.c.value == bindparam("vote", type_=Integer, required=True)]
    newest = latest(every, threads, _WALKED).cte("latest")
    # A scalar and not EXISTS, which Postgres may turn into a join that begins with the votes.
    thumb = (
        select(literal_column("1"))
        .where(*thumbs, feedbacks.c.threadId == newest.c.id)
        .limit(literal_column("1"))
        .scalar_subquery()
    )
    met = latest(select(newest).where(thumb.is_not(None)), newest, most).cte("met")
    enough = select(func.count()).select_from(met).scalar_subquery() >= most
    with_thumb = dialect.in_ids(threads.c.id, select(feedbacks.c.threadId).where(*thumbs))
    # Materialized before sorting, or Postgres may walk the whole list instead.
    looked_up = every.where(not_(enough), with_thumb).cte("looked_up").prefix_with("MATERIALIZED", dialect="postgresql")
    both = union_all(select(met).where(enough), select(looked_up)).subquery()
    return latest(select(both), both, most)


def latest(chosen: Select[Any], source: FromClause, most: ColumnElement[int]) -> Select[Any]:
    """The first rows of a selection, newest activity first."""
    return chosen.order_by(source.c.updatedAt.desc(), source.c.id.desc()).limit(most)
