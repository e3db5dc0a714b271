"""Steps: messages, runs and tool calls. Their writes are in `dialects`, one statement for each engine."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Integer,
    Select,
    Text,
    TextClause,
    Tuple,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_now
from datalayer.database import Database
from datalayer.dialects import Dialect
from datalayer.history import feedback
from datalayer.history.elements import goes_with_step
from datalayer.history.file_outbox import queue_files
from datalayer.ownership import SYSTEM, Actor, kind_of, readable_by, writable_by
from datalayer.records.chat import Feedback, Step
from datalayer.schema.chat import Identifier, elements, feedbacks, steps, threads
from datalayer.schema.review import answers, review_pending, step_versions
from datalayer.schema.rows import OURS, column_names
from datalayer.schema.usage import llm_calls
from datalayer.thought import THOUGHT_NAME, THOUGHT_TYPE

_MOST_PARAMETERS = 10_000
_VOTE_COLUMNS = tuple(column_names(Feedback, feedbacks).values())
_IS_MESSAGE = and_(or_(steps.c.type == "user_message", steps.c.type == "assistant_message"), steps.c.output != "")
# Messages are kept for reviewers when they are removed, together with the model calls of the message or its run; and
# the thought of an answer, which returns with it.
IS_KEPT = or_(_IS_MESSAGE, and_(steps.c.type == THOUGHT_TYPE, steps.c.name == THOUGHT_NAME, steps.c.output != ""))
IS_NAMED = or_(_IS_MESSAGE, steps.c.type == "run")
# Columns for the store's own use, or for Chainlit's own layer, are not shown.
SHOWN = tuple(
    name for name in column_names(Step, steps).values() if name in ("id", "threadId", "extra") or name not in OURS
)


async def favorites(
    database: Database,
    user_id: str,
    *,
    actor: Actor = SYSTEM,
    most: int | None = None,
    after: tuple[str, str] | None = None,
) -> list[tuple[dict[str, Any], Feedback | None]]:
    """The user's favourite steps by column name, newest first, each with the user's vote.

    Args:
        most: at most so many, which have the votes on their runs, too; None for all.
        after: the time ("" without one) and the id of a step: only those behind it.
    """
    moment, last = after or (None, None)
    rows = await database.fetch(
        _favorites(database.dialect.is_favorite, kind_of(actor), is_page=most is not None, behind=after is not None),
        {"user_id": user_id, "actor": actor, "most": most, "moment": moment, "last": last},
    )
    size, width = len(SHOWN), len(_VOTE_COLUMNS)
    found = []
    for row in rows:
        votes = [row[at : at + width] for at in range(size, len(row), width)]
        vote = next((Feedback(*one) for one in votes if one[0] is not None), None)
        found.append((dict(zip(SHOWN, row[:size], strict=True)), vote))
    return found


@lru_cache
def _favorites(is_favorite: TextClause, actor: Actor, *, is_page: bool, behind: bool) -> Select[Any]:
    user_id = bindparam("user_id", type_=Identifier, required=True)
    # Another program may have stored steps without a time; they are the last ones, on both engines.
    moment = func.coalesce(steps.c.createdAt, literal_column("''"))
    of_step, of_run, run = feedbacks.alias("of_step"), feedbacks.alias("of_run"), steps.alias("run")
    votes = (of_step, of_run) if is_page else (of_step,)
    found = (
        select(*(steps.c[name] for name in SHOWN), *(vote.c[name] for vote in votes for name in _VOTE_COLUMNS))
        .join(threads, threads.c.id == steps.c.threadId)
        .join(of_step, and_(of_step.c.forId == steps.c.id, of_step.c.userId == user_id), isouter=True)
        .where(threads.c.userId == user_id, readable_by(actor), is_favorite)
        .order_by(moment.desc(), steps.c.id.desc())
    )
    if behind:
        found = found.where(tuple_(moment, steps.c.id) < _place())
    if is_page:
        # The vote on an answer is stored on its run, as Chainlit does.
        found = found.join(run, and_(run.c.id == steps.c.parentId, run.c.type == literal_column("'run'")), isouter=True)
        found = found.join(of_run, and_(of_run.c.forId == run.c.id, of_run.c.userId == user_id), isouter=True)
        found = found.limit(bindparam("most", type_=Integer, required=True))
    return found


async def said(
    database: Database, thread_id: str, *, actor: Actor, most: int, after: tuple[str, str] | None = None
) -> list[dict[str, Any]]:
    """The messages of a thread of the actor by column name, newest first, without notices and errors.

    Args:
        after: the time ("" without one) and the id of a step: only those behind it.
    """
    moment, last = after or (None, None)
    rows = await database.fetch(
        _said(type(database.dialect), kind_of(actor), behind=after is not None),
        {"thread_id": thread_id, "actor": actor, "most": most, "moment": moment, "last": last},
    )
    return [dict(zip(SHOWN, row, strict=True)) for row in rows]


@lru_cache
def _said(dialect: type[Dialect], actor: Actor, *, behind: bool) -> Select[Any]:
    # As in `_favorites`.
    moment = func.coalesce(steps.c.createdAt, literal_column("''"))
    found = (
        select(*(steps.c[name] for name in SHOWN))
        .join(threads, threads.c.id == steps.c.threadId)
        .where(
            steps.c.threadId == bindparam("thread_id", type_=Identifier, required=True),
            steps.c.type.in_([literal_column("'user_message'"), literal_column("'assistant_message'")]),
            steps.c.isError.is_not(true()),
            func.coalesce(dialect.text_in(steps.c.metadata, "status"), "") != "notice",
            writable_by(actor, threads.c.userIdentifier),
        )
        .order_by(moment.desc(), steps.c.id.desc())
        .limit(bindparam("most", type_=Integer, required=True))
    )
    return found.where(tuple_(moment, steps.c.id) < _place()) if behind else found


def _place() -> Tuple:
    """The time and the id of the last step of a page."""
    return tuple_(bindparam("moment", type_=Text, required=True), bindparam("last", type_=Identifier, required=True))


async def is_message(database: Database, thread_id: str, step_id: str, *, actor: Actor) -> bool:
    """Whether a thread of the actor has this message, of a person or of a model."""
    values = {"thread_id": thread_id, "step_id": step_id, "actor": actor}
    return bool(await database.fetch(_message(kind_of(actor)), values))


@lru_cache
def _message(actor: Actor) -> Select[Any]:
    return (
        select(steps.c.id)
        .join(threads, threads.c.id == steps.c.threadId)
        .where(
            steps.c.id == bindparam("step_id", type_=Identifier, required=True),
            steps.c.threadId == bindparam("thread_id", type_=Identifier, required=True),
            steps.c.type.in_([literal_column("'user_message'"), literal_column("'assistant_message'")]),
            writable_by(actor, threads.c.userIdentifier),
        )
    )


async def set_favorite(connection: AsyncConnection, dialect: Dialect, step_id: str, favorite: bool) -> None:
    marked = dialect.merge_json(steps.c.metadata, {"favorite": favorite})
    await connection.execute(update(steps).where(steps.c.id == step_id).values(metadata=marked))


async def thread_of(connection: AsyncConnection, step_id: str) -> str | None:
    """The thread of the step."""
    return (await connection.execute(select(steps.c.threadId).where(steps.c.id == step_id))).scalar_one_or_none()


async def delete_step(connection: AsyncConnection, dialect: Dialect, step_id: str) -> list[str]:
    """Delete one step with its elements; gives the object keys of files that have no row any more.

    Elements that stay with the versions of an answer (`STAYS_WITH_VERSION`) are deleted with the thread.
    Votes on it are removed; their last state stays in `feedback_changes`.
    """
    return await _delete(connection, dialect, [step_id])


async def cut_after(
    connection: AsyncConnection,
    dialect: Dialect,
    thread_id: str,
    step_id: str,
    keep: Collection[str] = (),
    *,
    until: str | None = None,
) -> tuple[Sequence[str], list[str]]:
    """Delete the thread's steps after this one, except those to keep; gives their ids and object keys.

    Args:
        until: steps created after this time stay.
    """
    moment = select(steps.c.createdAt).where(steps.c.id == step_id).scalar_subquery()
    later = or_(steps.c.createdAt > moment, and_(steps.c.createdAt == moment, steps.c.id > step_id))
    chosen = select(steps.c.id).where(steps.c.threadId == thread_id, later, steps.c.id.not_in(list(keep)))
    if until is not None:
        chosen = chosen.where(steps.c.createdAt <= until)
    found = (await connection.execute(chosen)).scalars().all()
    keys: list[str] = []
    for at in range(0, len(found), _MOST_PARAMETERS):
        keys += await _delete(connection, dialect, found[at : at + _MOST_PARAMETERS])
    return found, keys


async def _delete(connection: AsyncConnection, dialect: Dialect, step_ids: Sequence[str]) -> list[str]:
    await _keep_versions(connection, step_ids)
    # The text of a removed answer stays, and with it the elements that show what it cites.
    going = and_(elements.c.forId.in_(step_ids), goes_with_step(dialect))
    keys = await queue_files(connection, going)
    # By thread, because there is an index of threads.
    of_threads = llm_calls.c.threadId.in_(select(steps.c.threadId).where(steps.c.id.in_(step_ids)))
    forgotten = llm_calls.c.stepId.in_(select(steps.c.id).where(steps.c.id.in_(step_ids), ~IS_NAMED))
    await connection.execute(update(llm_calls).where(of_threads, forgotten).values(stepId=None))
    await feedback.remove_with_steps(connection, dialect, step_ids, now=utc_now())
    await connection.execute(delete(elements).where(going))
    await connection.execute(delete(answers).where(answers.c.stepId.in_(step_ids)))
    await connection.execute(delete(steps).where(steps.c.id.in_(step_ids)))
    return keys


async def _keep_versions(connection: AsyncConnection, step_ids: Sequence[str]) -> None:
    """Keep removed messages for reviewers: editing a question removes its answer, which may be the reason."""
    messages = (
        select(
            *(steps.c.id, steps.c.threadId, literal("removed"), steps.c.type, steps.c.name, steps.c.output),
            *(steps.c.createdAt, literal(utc_now()), steps.c.parentId),
        )
        .where(steps.c.id.in_(step_ids), IS_KEPT)
        .order_by(steps.c.createdAt, steps.c.id)
    )
    names = ["stepId", "threadId", "change", "type", "name", "output", "createdAt", "replacedAt", "parentId"]
    await connection.execute(insert(step_versions).from_select(names, messages))
    # The run of a removed answer may have another answer, for which its thumb counts from now on.
    marked = select(steps.c.threadId).where(steps.c.id.in_(step_ids)).distinct()
    await connection.execute(insert(review_pending).from_select(["threadId"], marked))
