"""Votes: one for each user and step, and a history row for each vote that was cast, changed or withdrawn.

Removing a step removes its votes from `feedbacks`; their history stays in `feedback_changes`.
"""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import bindparam, case, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import hashed_id
from datalayer.dialects import Dialect
from datalayer.records.chat import Feedback
from datalayer.schema.chat import NAMED_VOTE, NAMELESS_VOTE, Identifier, feedback_changes, feedbacks
from datalayer.schema.review import review_pending
from datalayer.schema.rows import columns, given, record_of

_COLUMNS = columns(Feedback, feedbacks)
WITHDRAWAL = select(feedback_changes.c.id).where(feedback_changes.c.id == bindparam("change_id", type_=Identifier))
"""The history row with the id `change_id`."""


async def upsert(connection: AsyncConnection, dialect: Dialect, feedback: Feedback, *, now: str) -> str:
    """Store or change the user's vote on the step; gives its id."""
    values = given(feedback, feedbacks) | {"updatedAt": now}
    statement = dialect.insert(feedbacks).values(**values)
    # A vote is complete: one without a comment removes an earlier comment. Reasons come later, for this value.
    same = feedbacks.c.value == statement.excluded.value
    changes = {
        "value": feedback.value,
        "comment": feedback.comment,
        "updatedAt": now,
        "reasons": case((same, feedbacks.c.reasons)),
    }
    if feedback.user_id is None:
        statement = statement.on_conflict_do_update(
            index_elements=[feedbacks.c.forId], index_where=NAMELESS_VOTE, set_=changes
        )
    else:
        statement = statement.on_conflict_do_update(
            index_elements=[feedbacks.c.forId, feedbacks.c.userId], index_where=NAMED_VOTE, set_=changes
        )
    kept: str = (await connection.execute(statement.returning(feedbacks.c.id))).scalar_one()
    await _note(connection, dialect, feedback, kept, value=feedback.value, now=now)
    return kept


async def get(connection: AsyncConnection, feedback_id: str) -> Feedback | None:
    row = (await connection.execute(select(*_COLUMNS).where(feedbacks.c.id == feedback_id))).mappings().first()
    return record_of(Feedback, feedbacks, row) if row else None


async def of_user(connection: AsyncConnection, step_id: str, user_id: str | None) -> Feedback | None:
    """The user's vote on the step, or that of an application without users."""
    author = feedbacks.c.userId.is_(None) if user_id is None else feedbacks.c.userId == user_id
    row = (await connection.execute(select(*_COLUMNS).where(feedbacks.c.forId == step_id, author))).mappings().first()
    return record_of(Feedback, feedbacks, row) if row else None


async def is_withdrawn(connection: AsyncConnection, feedback_id: str, *, now: str) -> bool:
    """Whether the vote was withdrawn by the write of this time, which is applied again."""
    return (await connection.execute(WITHDRAWAL, {"change_id": change_id(feedback_id, now, None)})).first() is not None


async def delete_feedback(connection: AsyncConnection, dialect: Dialect, feedback: Feedback, *, now: str) -> None:
    """Delete the vote; its history stays."""
    await connection.execute(delete(feedbacks).where(feedbacks.c.id == feedback.id))
    if feedback.thread_id is not None:
        await mark_answers(connection, [feedback.thread_id])
    await _note(connection, dialect, feedback, feedback.id, value=None, now=now)


async def give_reasons(
    connection: AsyncConnection,
    dialect: Dialect,
    vote: Feedback,
    *,
    reasons: Sequence[str],
    comment: str | None,
    now: str,
) -> None:
    """Store the reasons of the vote; without a comment, the present one stays."""
    explained = replace(vote, comment=vote.comment if comment is None else comment)
    values = {"reasons": list(reasons), "comment": explained.comment, "updatedAt": now}
    await connection.execute(update(feedbacks).where(feedbacks.c.id == vote.id).values(**values))
    await _note(connection, dialect, explained, vote.id, value=vote.value, now=now, reasons=reasons)


async def reasons(
    connection: AsyncConnection, vote_ids: Sequence[str], user_id: str | None
) -> dict[str, tuple[str, ...]]:
    """The reasons of those of these votes that are the user's and have any."""
    author = feedbacks.c.userId.is_(None) if user_id is None else feedbacks.c.userId == user_id
    chosen = select(feedbacks.c.id, feedbacks.c.reasons).where(feedbacks.c.id.in_(vote_ids), author)
    return {vote_id: tuple(given_) for vote_id, given_ in await connection.execute(chosen) if given_}


async def remove_with_steps(
    connection: AsyncConnection, dialect: Dialect, step_ids: Sequence[str], *, now: str, thread_id: str | None = None
) -> None:
    """Delete the votes on removed steps; the last history row of each holds its whole state.

    Args:
        thread_id: only votes in this thread.
    """
    chosen = delete(feedbacks).where(feedbacks.c.forId.in_(step_ids))
    if thread_id is not None:
        chosen = chosen.where(feedbacks.c.threadId == thread_id)
    withdrawal = chosen.returning(feedbacks)
    rows = [
        {
            **{name: row[name] for name in ("forId", "threadId", "userId", "value", "comment", "reasons")},
            "feedbackId": row["id"],
            "changedAt": row["updatedAt"] or now,
        }
        for row in (await connection.execute(withdrawal)).mappings()
    ]
    if rows:
        # The row usually exists. Reasons may have been given before the comment changed; an adopted vote has no row.
        change = feedback_changes.c
        there = select(change.id, change.feedbackId, change.changedAt, change.value).where(change.forId.in_(step_ids))
        ids = {tuple(of): change_id for change_id, *of in await connection.execute(there)}
        for row in rows:
            of = row["feedbackId"], row["changedAt"], row["value"]
            row["id"] = ids.get(of) or change_id(*of)
        noted = dialect.insert(feedback_changes)
        last = {name: noted.excluded[name] for name in ("comment", "reasons")}
        await connection.execute(noted.on_conflict_do_update(index_elements=[feedback_changes.c.id], set_=last), rows)


async def changes_of_step(connection: AsyncConnection, step_id: str) -> list[tuple[int | None, str | None, str]]:
    """The history of votes on the step, oldest first: (value, comment, time); value None means withdrawn."""
    columns_ = (feedback_changes.c.value, feedback_changes.c.comment, feedback_changes.c.changedAt)
    statement = select(*columns_).where(feedback_changes.c.forId == step_id).order_by(feedback_changes.c.changedAt)
    return [(value, comment, moment) for value, comment, moment in await connection.execute(statement)]


async def mark_answers(connection: AsyncConnection, thread_ids: Sequence[str]) -> None:
    """Mark these threads: a vote or a verdict changed, so their rows in `review_answers` must be rebuilt."""
    if thread_ids:
        await connection.execute(insert(review_pending), [{"threadId": one} for one in thread_ids])


async def _note(
    connection: AsyncConnection,
    dialect: Dialect,
    feedback: Feedback,
    kept: str,
    *,
    value: int | None,
    now: str,
    reasons: Sequence[str] | None = None,
) -> None:
    statement = dialect.insert(feedback_changes).values(
        # A write is applied again if it is unknown whether it was stored; its history row is stored once.
        id=change_id(feedback.id, now, value),
        feedbackId=kept,
        forId=feedback.for_id,
        threadId=feedback.thread_id,
        userId=feedback.user_id,
        value=value,
        comment=feedback.comment if value is not None else None,
        changedAt=now,
        reasons=None if reasons is None else list(reasons),
    )
    await connection.execute(statement.on_conflict_do_nothing(index_elements=[feedback_changes.c.id]))


def change_id(given: str, moment: str, value: int | None) -> str:
    """The id of a history row. `given` is the vote's id as the write gives it, which a repeated write gives again; a
    vote that exists already keeps another one."""
    return hashed_id(f"{given} {moment} {value}")
