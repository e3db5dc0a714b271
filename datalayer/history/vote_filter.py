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
_FEW: ColumnElement[int] = literal_column("100", Integer)
_WALKED: ColumnElement[int] = literal_column("1000", Integer)


def with_vote(
    dialect: type[Dialect],
    every: Select[Any],
    by_id: Select[Any],
    user_id: BindParameter[Any],
    most: BindParameter[int],
) -> Executable:
    """A page of the threads in which the user gave this vote.

    A few votes are looked up with their threads, where the engine `skips_needless_reads`. If there are more, the newest
    threads are checked one after another, which fills the page quickly if the vote is frequent; if they do not fill it,
    all votes are looked up after all.

    Args:
        every: the user's threads.
        by_id: the same, for a condition on their ids: no index of the user's threads is read.
        user_id: whose votes count.
        most: size of the page.
    """
    thumbs = [feedbacks.c.userId == user_id, feedbacks.c.value == bindparam("vote", type_=Integer, required=True)]
    some = select(literal_column("1")).select_from(feedbacks).where(*thumbs).limit(_FEW + 1).subquery()
    few = select(func.count()).select_from(some).scalar_subquery() <= _FEW
    walked = every.where(not_(few)) if dialect.skips_needless_reads else every
    newest = latest(walked, threads, _WALKED).cte("latest")
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
    looked_up = by_id.where(not_(enough), with_thumb).cte("looked_up").prefix_with("MATERIALIZED", dialect="postgresql")
    both = union_all(select(met).where(enough), select(looked_up)).subquery()
    return latest(select(both), both, most)


def latest(chosen: Select[Any], source: FromClause, most: ColumnElement[int]) -> Select[Any]:
    """The first rows of a selection, newest activity first."""
    return chosen.order_by(source.c.updatedAt.desc(), source.c.id.desc()).limit(most)
