"""SQL of the data that a reviewer sees with a thread: votes, verdicts, earlier versions, usage, marks and copies."""

from typing import Any

from sqlalchemy import func, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.history.removed_answers import IS_LAST_VOTE
from datalayer.records.review import StepUsage, StepVersion, ThreadOrigin, Vote
from datalayer.review import marks, verdicts
from datalayer.schema.chat import feedback_changes, feedbacks, users
from datalayer.schema.review import step_versions, thread_origins
from datalayer.schema.usage import llm_calls


async def surroundings(connection: AsyncConnection, thread_id: str) -> dict[str, Any]:
    """The fields of `ReviewThread` except `thread`."""
    origins = await origins_of(connection, thread_id)
    return {
        "votes": await _votes(connection, thread_id),
        "verdicts": tuple(await verdicts.of_thread(connection, thread_id)),
        "versions": await versions(connection, thread_id),
        "usage": await _usage(connection, thread_id),
        "marks": await marks.of_thread(connection, thread_id),
        "origin": next((one for one in origins if one.thread_id == thread_id), None),
        "copies": tuple(one for one in origins if one.original_id == thread_id),
    }


async def versions(connection: AsyncConnection, thread_id: str) -> tuple[StepVersion, ...]:
    """Earlier versions of edited and removed messages of the thread, in the order of the changes."""
    version = step_versions.c
    statement = (
        select(
            *(version.stepId, version.change, version.type, version.name, version.output),
            *(version.createdAt, version.replacedAt, version.parentId),
        )
        .where(version.threadId == thread_id)
        .order_by(version.id)
    )
    return tuple(StepVersion(*row) for row in await connection.execute(statement))


async def origins_of(connection: AsyncConnection, thread_id: str) -> list[ThreadOrigin]:
    """The thread's origin, if it is a copy, and its copies, oldest first."""
    origin = thread_origins.c
    statement = (
        select(
            *(origin.threadId, origin.originalId, origin.originalStepId, users.c.identifier, origin.createdAt),
            *(origin.betterStepId, origin.linkedAt),
        )
        .outerjoin(users, users.c.id == origin.reviewerId)
        .where(or_(origin.threadId == thread_id, origin.originalId == thread_id))
        .order_by(origin.createdAt)
    )
    return [ThreadOrigin(*row) for row in await connection.execute(statement)]


async def _votes(connection: AsyncConnection, thread_id: str) -> tuple[Vote, ...]:
    vote, change = feedbacks.c, feedback_changes.c
    cast_votes = union_all(
        select(vote.id, vote.forId, vote.value, vote.comment, vote.reasons, vote.userId, vote.updatedAt).where(
            vote.threadId == thread_id
        ),
        select(
            *(change.feedbackId, change.forId, change.value, change.comment, change.reasons, change.userId),
            change.changedAt,
        ).where(change.threadId == thread_id, IS_LAST_VOTE),
    ).subquery("cast_votes")
    statement = (
        select(cast_votes, users.c.identifier)
        .outerjoin(users, users.c.id == cast_votes.c.userId)
        .order_by(cast_votes.c.updatedAt, cast_votes.c.id)
    )
    return tuple(
        Vote(row.forId, row.value, row.comment, tuple(row.reasons or ()), row.identifier, row.updatedAt)
        for row in await connection.execute(statement)
    )


async def _usage(connection: AsyncConnection, thread_id: str) -> tuple[StepUsage, ...]:
    call = llm_calls.c
    statement = (
        select(
            call.stepId,
            func.max(call.model),
            func.max(call.assistant),
            func.count(),
            func.sum(call.promptTokens),
            func.sum(call.completionTokens),
            # The sum is unknown if the price of any call is unknown, so priced calls are counted.
            func.sum(call.totalCost).label("cost"),
            func.count(call.totalCost).label("priced"),
            func.sum(call.seconds),
            func.min(call.firstTokenSeconds),
        )
        .where(call.threadId == thread_id, call.stepId.is_not(None))
        .group_by(call.stepId)
        .order_by(func.min(call.requestedAt))
    )
    return tuple(
        StepUsage(
            step_id=row[0],
            model=row[1],
            assistant=row[2],
            calls=row[3],
            prompt_tokens=_whole(row[4]),
            completion_tokens=_whole(row[5]),
            cost=row.cost if row.priced == row[3] else None,
            seconds=row[8],
            first_token_seconds=row[9],
        )
        for row in await connection.execute(statement)
    )


def _whole(number: Any) -> int | None:
    return None if number is None else int(number)
