"""A page of the messages of a thread, oldest first, in one statement that reads the rows of the page alone.

The index `steps_in_order` gives steps by their times. Steps without a time, which another program may have stored, come
first on both engines, in the order of their ids; they are read separately, because an index has NULL at one end or the
other.
"""

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    tuple_,
    union_all,
)

from datalayer.database import Database
from datalayer.history.steps import SHOWN
from datalayer.ownership import Actor, kind_of, writable_by
from datalayer.records.chat import Feedback
from datalayer.schema.chat import Identifier, feedbacks, steps, threads
from datalayer.schema.rows import column_names

_VOTE_COLUMNS = tuple(column_names(Feedback, feedbacks).values())


async def page(
    database: Database, thread_id: str, *, actor: Actor, most: int, after: tuple[str, str] | None = None
) -> list[tuple[dict[str, Any], Feedback | None, Feedback | None]] | None:
    """The messages of a thread of the actor, with notices and errors; None if it is not the actor's.

    Args:
        most: at most so many.
        after: the time ("" without one) and the id of a step: only those behind it.

    Returns:
        Each step by column name, with the vote of the thread's owner on it, and with that on its run.
    """
    moment, last = after or ("", None)
    values = {"thread_id": thread_id, "actor": actor, "most": most, "moment": moment, "last": last}
    rows = await database.fetch(_page(kind_of(actor), behind=last is not None, has_time=bool(moment)), values)
    if not rows:
        return None
    size, width = len(SHOWN), len(_VOTE_COLUMNS)
    return [
        (dict(zip(SHOWN, row[:size], strict=True)), _vote(row[size : size + width]), _vote(row[size + width :]))
        for row in rows
        # A thread without messages on this page is one row without a step.
        if row[0] is not None
    ]


def _vote(values: Any) -> Feedback | None:
    return Feedback(*values) if values[0] is not None else None


@lru_cache
def _page(actor: Actor, *, behind: bool, has_time: bool) -> Select[Any]:
    """The statement for the first page, or one behind a step with or without a time."""
    moment, last = bindparam("moment", type_=Text, required=True), bindparam("last", type_=Identifier, required=True)
    place = tuple_(steps.c.createdAt, steps.c.id) > tuple_(moment, last)
    timed = _part(steps.c.createdAt.is_not(None), *([place] if has_time else []), by=(steps.c.createdAt, steps.c.id))
    parts = [timed]
    if not has_time:
        behind_last = [steps.c.id > last] if behind else []
        parts.insert(0, _part(steps.c.createdAt.is_(None), *behind_last, by=(steps.c.id,)))
    found = union_all(*(select(part.subquery()) for part in parts)).subquery("found")
    of_step, of_run, run = feedbacks.alias("of_step"), feedbacks.alias("of_run"), steps.alias("run")
    return (
        select(
            *(found.c[name] for name in SHOWN), *(vote.c[name] for vote in (of_step, of_run) for name in _VOTE_COLUMNS)
        )
        .select_from(threads)
        .join(found, found.c.threadId == threads.c.id, isouter=True)
        .join(of_step, and_(of_step.c.forId == found.c.id, of_step.c.userId == threads.c.userId), isouter=True)
        # The vote on an answer is stored on its run, as Chainlit does.
        .join(run, and_(run.c.id == found.c.parentId, run.c.type == literal_column("'run'")), isouter=True)
        .join(of_run, and_(of_run.c.forId == run.c.id, of_run.c.userId == threads.c.userId), isouter=True)
        .where(threads.c.id == _thread_id(), writable_by(actor, threads.c.userIdentifier))
        .order_by(func.coalesce(found.c.createdAt, literal_column("''")), found.c.id)
        .limit(_most())
    )


def _part(*conditions: ColumnElement[bool], by: tuple[Column[Any], ...]) -> Select[Any]:
    kinds: list[Any] = [literal_column("'user_message'"), literal_column("'assistant_message'")]
    return (
        select(*(steps.c[name] for name in SHOWN))
        .where(steps.c.threadId == _thread_id(), steps.c.type.in_(kinds), *conditions)
        .order_by(*by)
        .limit(_most())
    )


def _thread_id() -> Any:
    return bindparam("thread_id", type_=Identifier, required=True)


def _most() -> Any:
    return bindparam("most", type_=Integer, required=True)
