"""One narrow row for each answer with everything that filters need, so that each filter can use an index.

The facts about an answer are in four tables, and no index spans four tables. A write only leaves a mark
(`review_triggers`); this module takes the marks in batches and rebuilds the rows of their threads, with one statement
for many threads. One process at a time does this, so that an older state never replaces a newer one.

Chainlit can store a thumb or a model call on a run: it counts for the last answer of the run. An answer that was
removed, because its question was edited, has a row if it has a thumb.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    Text,
    and_,
    case,
    cast,
    delete,
    false,
    func,
    null,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.history import removed_answers
from datalayer.history.removed_answers import IS_LAST_VOTE
from datalayer.history.threads import hold
from datalayer.records.assistants import DEFAULT_ASSISTANT
from datalayer.schema.chat import feedback_changes, feedbacks, migrations, steps, threads
from datalayer.schema.review import answers, review_pending, thread_origins, verdicts
from datalayer.schema.usage import llm_calls

BATCH = 500
"""The number of marks taken in one transaction."""
ANSWER = removed_answers.ANSWER
NOTICE, PROLOGUE = "notice", "prologue"
"""The `status` in the metadata of an application's own notice, and of the first message of an assistant. They are not
answers and are not reviewed."""
ASSISTANT, VERSION = "assistant_slug", "assistant_version"
"""The keys in the metadata of an answer that name the assistant and its version (`Assistant.reference`). They hold for
an answer without a call, and for one of the default chat in the thread of an assistant."""
ORIGIN, IDK = "answered_from", "idk"
"""The key in the metadata of an answer, and its value if the answer is the `idk` text of the assistant."""


async def is_behind(connection: AsyncConnection) -> bool:
    """Whether there are marks."""
    return (await connection.execute(select(review_pending.c.id).limit(1))).first() is not None


async def take_marks(connection: AsyncConnection, dialect: Dialect) -> bool:
    """Rebuild the rows of the threads with the oldest marks; True if there may be more marks."""
    # This row always exists, and nothing else locks it.
    turn = select(migrations.c.name).where(migrations.c.name == "review_threads").with_for_update()
    await connection.execute(turn)
    oldest = select(review_pending.c.id, review_pending.c.threadId).order_by(review_pending.c.id).limit(BATCH)
    marks = (await connection.execute(oldest)).all()
    there = await hold(connection, {mark.threadId for mark in marks})
    await connection.execute(delete(review_pending).where(review_pending.c.id.in_([mark.id for mark in marks])))
    await _renew(connection, dialect, there)
    return len(marks) == BATCH


def is_whole(step: Mapping[Any, Any]) -> bool:
    """Whether an answer is one: no failure in words, and not stopped or cut, as its application notes in `status`."""
    status = (step["metadata"] or {}).get("status")
    return not step["isError"] and status in (None, "complete")


async def renew(connection: AsyncConnection, dialect: Dialect, thread_ids: Sequence[str]) -> None:
    """Rebuild the rows of all answers in these threads; deleted threads are left out."""
    if thread_ids:
        await _renew(connection, dialect, await hold(connection, thread_ids))


async def _renew(connection: AsyncConnection, dialect: Dialect, there: Sequence[str]) -> None:
    if not there:
        return
    still = select(steps.c.id).where(steps.c.id == answers.c.stepId, steps.c.type == ANSWER).exists()
    await connection.execute(
        delete(answers).where(answers.c.threadId.in_(there), or_(answers.c.isRemoved.is_(true()), ~still))
    )
    made = dialect.insert(answers).from_select(answers.c.keys(), _made_of(dialect, there))
    renewed = {name: made.excluded[name] for name in answers.c.keys() if name != "stepId"}  # noqa: SIM118
    await connection.execute(made.on_conflict_do_update(index_elements=[answers.c.stepId], set_=renewed))


def _made_of(dialect: Dialect, thread_ids: Sequence[str]) -> Select[Any]:
    """The columns of `review_answers`, in order."""
    place = func.row_number().over(
        partition_by=steps.c.parentId, order_by=[steps.c.createdAt.desc(), steps.c.id.desc()]
    )
    here = select(
        *(steps.c.id, steps.c.threadId, steps.c.createdAt, steps.c.isError),
        case((place == 1, steps.c.parentId)).label("runId"),
        dialect.text_in(steps.c.metadata, "model").label("model"),
        false().label("isRemoved"),
        dialect.text_in(steps.c.metadata, ASSISTANT).label("assistant"),
        dialect.text_in(steps.c.metadata, VERSION).label("version"),
        (func.coalesce(dialect.text_in(steps.c.metadata, ORIGIN), "") == IDK).label("isUnknown"),
    ).where(
        steps.c.threadId.in_(thread_ids),
        steps.c.type == ANSWER,
        func.coalesce(dialect.text_in(steps.c.metadata, "status"), "").not_in([NOTICE, PROLOGUE]),
    )
    former = removed_answers.answers_of(thread_ids).subquery("former").c
    unknown = cast(null(), Text)
    removed = select(
        *(former.id, former.threadId, former.createdAt, false(), former.runId, unknown, true()),
        *(unknown, unknown, false()),
    )
    step = union_all(here, removed).subquery("step")
    votes, calls = _votes(thread_ids), _calls(thread_ids)
    own_votes, run_votes = votes.alias("own_votes"), votes.alias("run_votes")
    own_calls, run_calls = calls.alias("own_calls"), calls.alias("run_calls")
    judged = (
        select(verdicts.c.stepId, func.count().label("count"))
        .where(verdicts.c.threadId.in_(thread_ids))
        .group_by(verdicts.c.stepId)
        .subquery("judged")
    )

    def called(name: str) -> ColumnElement[Any]:
        return case((own_calls.c.stepId.is_not(None), own_calls.c[name]), else_=run_calls.c[name])

    thumb = case(
        (or_(own_votes.c.thumb == 0, run_votes.c.thumb == 0), 0),
        else_=func.coalesce(own_votes.c.thumb, run_votes.c.thumb),
    )
    of_thread = case(
        (step.c.assistant.is_(None), dialect.text_in(threads.c.metadata, "chat_profile")),
        (step.c.assistant != DEFAULT_ASSISTANT, step.c.assistant),
    )
    return (
        select(
            step.c.id,
            step.c.threadId,
            threads.c.userId,
            func.coalesce(step.c.createdAt, threads.c.createdAt, ""),
            step.c.runId,
            threads.c.tags,
            thumb,
            (func.coalesce(own_votes.c.comments, 0) + func.coalesce(run_votes.c.comments, 0)) > 0,
            func.coalesce(called("assistant"), of_thread),
            func.coalesce(called("model"), step.c.model),
            called("tokens"),
            called("cost"),
            called("seconds"),
            func.coalesce(step.c.isError, False),
            func.coalesce(judged.c.count, 0),
            step.c.isRemoved,
            func.coalesce(called("version"), step.c.version),
            step.c.isUnknown,
        )
        .select_from(step)
        .join(threads, threads.c.id == step.c.threadId)
        .outerjoin(own_votes, own_votes.c.forId == step.c.id)
        .outerjoin(run_votes, run_votes.c.forId == step.c.runId)
        .outerjoin(own_calls, own_calls.c.stepId == step.c.id)
        .outerjoin(run_calls, run_calls.c.stepId == step.c.runId)
        .outerjoin(judged, judged.c.stepId == step.c.id)
        # Copies are the reviewers' own work: their answers are not reviewed, and their votes do not count twice.
        # The WHERE is required: after a join without one, SQLite parses ON CONFLICT as a condition of the join.
        .where(
            step.c.threadId.not_in(select(thread_origins.c.threadId)),
            # Of regenerated answers, only those with a thumb are reviewed.
            or_(step.c.isRemoved.is_(false()), thumb.is_not(None)),
        )
    )


def _votes(thread_ids: Sequence[str]) -> Subquery:
    vote, change = feedbacks.c, feedback_changes.c
    cast_ = union_all(
        select(vote.forId, vote.value, vote.comment).where(vote.threadId.in_(thread_ids)),
        select(change.forId, change.value, change.comment).where(change.threadId.in_(thread_ids), IS_LAST_VOTE),
    ).subquery("cast")
    commented = case((and_(cast_.c.comment.is_not(None), cast_.c.comment != ""), 1))
    return (
        select(cast_.c.forId, func.min(cast_.c.value).label("thumb"), func.count(commented).label("comments"))
        .group_by(cast_.c.forId)
        .subquery("votes")
    )


def _calls(thread_ids: Sequence[str]) -> Subquery:
    tokens = func.coalesce(llm_calls.c.promptTokens, 0) + func.coalesce(llm_calls.c.completionTokens, 0)
    version = llm_calls.c.assistant + "@" + cast(llm_calls.c.assistantVersion, Text)
    # If the price of one call is unknown, the total is unknown.
    cost = case((func.count() == func.count(llm_calls.c.totalCost), func.sum(llm_calls.c.totalCost)))
    return (
        select(
            llm_calls.c.stepId,
            func.max(llm_calls.c.assistant, type_=Text).label("assistant"),
            func.max(version, type_=Text).label("version"),
            func.max(llm_calls.c.model, type_=Text).label("model"),
            func.sum(tokens).label("tokens"),
            cost.label("cost"),
            func.sum(llm_calls.c.seconds).label("seconds"),
        )
        .where(llm_calls.c.threadId.in_(thread_ids), llm_calls.c.stepId.is_not(None))
        .group_by(llm_calls.c.stepId)
        .subquery("calls")
    )
