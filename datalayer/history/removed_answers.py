"""Answers that were removed from their thread, because editing a question removes its answer.

Their text is in `step_versions`, their votes are in `feedback_changes`. A thumb on a run counts for the last answer of
the run, also if that was removed; if the run still has an answer, it counts for that one.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.history.speech import start_of_answer
from datalayer.schema.chat import Identifier, feedback_changes, steps
from datalayer.schema.review import step_versions

ANSWER, QUESTION = "assistant_message", "user_message"

_later_vote, _later_version = feedback_changes.alias("later_vote"), step_versions.alias("later_version")

IS_LAST_VOTE: ColumnElement[bool] = and_(
    # A withdrawn vote has no value.
    feedback_changes.c.value.is_not(None),
    ~exists().where(steps.c.id == feedback_changes.c.forId),
    ~exists().where(
        _later_vote.c.forId == feedback_changes.c.forId,
        _later_vote.c.userId.is_not_distinct_from(feedback_changes.c.userId),
        tuple_(_later_vote.c.changedAt, _later_vote.c.id) > tuple_(feedback_changes.c.changedAt, feedback_changes.c.id),
    ),
)
"""The last state of a vote on a removed step, in `feedback_changes`."""

IS_REMOVED_ANSWER: ColumnElement[bool] = and_(
    step_versions.c.change == literal_column("'removed'", Text),
    step_versions.c.type == literal_column(f"'{ANSWER}'", Text),
    ~exists().where(steps.c.id == step_versions.c.stepId),
    ~exists().where(
        _later_version.c.stepId == step_versions.c.stepId,
        _later_version.c.change == literal_column("'removed'", Text),
        _later_version.c.id > step_versions.c.id,
    ),
)
"""The last state of a removed answer, in `step_versions`."""


def answers_of(thread_ids: Sequence[str]) -> Select[Any]:
    """The removed answers of these threads, with `id`, `threadId` and `createdAt`.

    `runId` is set for the last removed answer of a run that has no answer any more.
    """
    version = step_versions.c
    place = func.row_number().over(
        partition_by=version.parentId, order_by=[version.createdAt.desc(), version.stepId.desc()]
    )
    left = select(steps.c.parentId).where(
        steps.c.threadId.in_(thread_ids), steps.c.type == ANSWER, steps.c.parentId.is_not(None)
    )
    return select(
        version.stepId.label("id"),
        version.threadId,
        version.createdAt,
        case((and_(place == 1, version.parentId.not_in(left)), version.parentId)).label("runId"),
    ).where(version.threadId.in_(thread_ids), IS_REMOVED_ANSWER)


async def thread_of(connection: AsyncConnection, step_id: str) -> str | None:
    """The thread of the removed answer."""
    found = select(step_versions.c.threadId).where(step_versions.c.stepId == step_id, IS_REMOVED_ANSWER)
    return (await connection.execute(found)).scalar()


def texts(length: int) -> Select[Any]:
    """The beginnings of the removed answers `ids` (see `speech_at_start`) and of their questions, by `stepId`."""
    asked = step_versions.alias("asked")
    # The question of an answer is the version that was replaced first after the answer, or else the present one.
    before = (
        select(
            asked.c.createdAt.label("createdAt"),
            asked.c.stepId.label("stepId"),
            asked.c.replacedAt.label("until"),
            asked.c.output.label("output"),
        )
        .where(
            asked.c.threadId == step_versions.c.threadId,
            asked.c.type == literal_column(f"'{QUESTION}'", Text),
            asked.c.createdAt <= step_versions.c.createdAt,
            asked.c.replacedAt > step_versions.c.createdAt,
        )
        .correlate(step_versions)
    )
    now = (
        select(steps.c.createdAt, steps.c.id, literal_column("'9999'", Text), steps.c.output)
        .where(
            steps.c.threadId == step_versions.c.threadId,
            steps.c.type == literal_column(f"'{QUESTION}'", Text),
            steps.c.createdAt <= step_versions.c.createdAt,
        )
        .correlate(step_versions)
    )
    messages = union_all(before, now).subquery("messages")
    question = (
        select(func.substr(messages.c.output, 1, length))
        .order_by(messages.c.createdAt.desc(), messages.c.stepId.desc(), messages.c.until)
        .limit(literal_column("1", Integer))
        .scalar_subquery()
    )
    return select(
        step_versions.c.stepId,
        start_of_answer(step_versions.c.output, length).label("answer"),
        question.label("question"),
    ).where(step_versions.c.stepId.in_(bindparam("ids", type_=Identifier, expanding=True)), IS_REMOVED_ANSWER)
