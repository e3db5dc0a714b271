"""Steps: the deletion of one with its votes and elements, and the favourite mark."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Executable,
    Text,
    and_,
    cast,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    update,
)

from datalayer.cleaning import utc_now
from datalayer.database import Run
from datalayer.dialects import Dialect
from datalayer.dialects.lone import UNDECIDED
from datalayer.errors import Forbidden, NotFound
from datalayer.history import deletion_marks
from datalayer.history.elements import goes_with_step
from datalayer.history.steps import IS_KEPT, IS_NAMED
from datalayer.ownership import Actor, actor_of, kind_of
from datalayer.records.writes import FavoriteMark, Removed, StepDeletion
from datalayer.schema.chat import Identifier, Json, elements, feedback_changes, feedbacks, steps
from datalayer.schema.review import answers, review_pending, step_versions
from datalayer.schema.usage import llm_calls
from datalayer.writes.single.parts import acting, given, is_foreign, queued_files, thread_of
from datalayer.writes.single.statement import SingleWrite

_OF_VOTE = ("forId", "threadId", "userId", "value", "comment", "reasons")


def remove_step(dialect: Dialect, write: StepDeletion) -> SingleWrite:
    """Delete one step with its elements and votes; the last state of the votes stays in `feedback_changes`.

    Gives `Removed`. Refused with Forbidden if the thread belongs to someone else.
    """
    actor = actor_of(write)
    now = utc_now()
    values = {"new_id": write.step_id, "new_moment": now, "new_queuedAt": now, **acting(actor)}

    def result(rows: Sequence[Any]) -> Removed:
        if not rows:
            return Removed(0)
        foreign, keys = rows[0]
        if foreign:
            raise Forbidden("the thread belongs to someone else")
        return Removed(1, tuple(keys or ()), (write.step_id,))

    return SingleWrite(_remove(type(dialect), kind_of(actor)), values, result)


def mark_favorite(dialect: Dialect, write: FavoriteMark) -> SingleWrite:
    """Set or clear the favourite mark of the step.

    Refused with NotFound if the step does not exist, with Forbidden if the thread belongs to someone else.
    """
    actor = actor_of(write)
    values = {"new_id": write.step_id, "new_patch": {"favorite": write.favorite}, **acting(actor)}

    def result(rows: Sequence[Any]) -> Any:
        if not rows:
            return UNDECIDED
        if rows[0][0]:
            raise Forbidden("the thread belongs to someone else")
        return None

    async def without_step(run: Run) -> None:
        if not await deletion_marks.drops(run, write.thread_id):
            raise NotFound(f"the step {write.step_id} does not exist")

    return SingleWrite(_mark(type(dialect), kind_of(actor)), values, result, without_step)


@cache
def _remove(dialect: type[Dialect], kind: Actor) -> Executable:
    """The statement that deletes a step; it gives whether the thread is foreign, and the keys of the step's files."""
    found = select(steps.c.id, steps.c.threadId).where(steps.c.id == given("id", Identifier)).cte("found")
    foreign = is_foreign(thread_of(select(found.c.threadId).scalar_subquery(), kind, is_locked=True))
    chosen = select(found).where(~foreign).cte("chosen")
    step_id, thread_id = (select(chosen.c[name]).scalar_subquery() for name in ("id", "threadId"))
    going = elements.c.forId == step_id, goes_with_step(dialect)
    files = delete(elements).where(*going).returning(elements.c.objectKey, elements.c.threadId)
    of_files = files.cte("files_of_step")
    queued = queued_files(select(of_files.c.objectKey, of_files.c.threadId))
    votes = delete(feedbacks).where(feedbacks.c.forId == step_id).returning(*feedbacks.c).cte("votes")
    is_named = exists(select(steps.c.id).where(steps.c.id == step_id, IS_NAMED))
    of_step = and_(llm_calls.c.threadId == thread_id, llm_calls.c.stepId == step_id)
    parts = [
        _version(step_id),
        # The run of a removed answer may have another answer, for which its thumb counts from now on.
        insert(review_pending).from_select(["threadId"], select(chosen.c.threadId)).cte("marked"),
        queued,
        update(llm_calls).where(of_step, ~is_named).values(stepId=None).cte("calls"),
        _history(dialect, votes),
        delete(answers).where(answers.c.stepId == step_id).cte("answers"),
        delete(steps).where(steps.c.id == step_id).cte("gone"),
    ]
    keys = select(func.array_agg(queued.c.objectKey)).scalar_subquery()
    return select(foreign, keys).select_from(found).add_cte(*parts)


@cache
def _mark(dialect: type[Dialect], kind: Actor) -> Executable:
    """The statement that marks a step; it gives whether the thread is foreign."""
    found = select(steps.c.id, steps.c.threadId).where(steps.c.id == given("id", Identifier)).cte("found")
    foreign = is_foreign(thread_of(select(found.c.threadId).scalar_subquery(), kind))
    marked = (
        update(steps)
        .where(steps.c.id == found.c.id, ~foreign)
        .values(metadata=dialect.merge_json(steps.c.metadata, given("patch", Json), removes=False))
    )
    return select(foreign).select_from(found).add_cte(marked.cte("marked"))


def _version(step_id: ColumnElement[str]) -> CTE:
    """The message for reviewers, as in `history.steps`."""
    values: dict[str, Any] = {
        **{"stepId": steps.c.id, "threadId": steps.c.threadId, "change": literal_column("'removed'", Text)},
        **{"type": steps.c.type, "name": steps.c.name, "output": steps.c.output, "createdAt": steps.c.createdAt},
        **{"replacedAt": given("moment", Text()), "parentId": steps.c.parentId},
    }
    message = select(*values.values()).where(steps.c.id == step_id, IS_KEPT)
    return insert(step_versions).from_select(list(values), message).cte("version")


def _history(dialect: type[Dialect], votes: CTE) -> CTE:
    """The last history row of each vote with its whole state, as in `history.feedback.remove_with_steps`."""
    change, moment = feedback_changes.c, func.coalesce(votes.c.updatedAt, given("moment", Text()))
    last = {"comment": votes.c.comment, "reasons": votes.c.reasons}
    of_vote = and_(
        change.feedbackId == votes.c.id,
        change.forId == votes.c.forId,
        change.changedAt == moment,
        change.value == votes.c.value,
    )
    completed = update(feedback_changes).where(of_vote).values(last).returning(change.feedbackId).cte("completed")
    blank = literal_column("' '", Text)
    words = cast(votes.c.id, Text) + blank + moment + blank + cast(votes.c.value, Text)
    values = {"id": dialect.hashed_id(words), "feedbackId": votes.c.id, "changedAt": moment}
    values |= {name: votes.c[name] for name in _OF_VOTE}
    is_there = exists(select(completed.c.feedbackId).where(completed.c.feedbackId == votes.c.id))
    # An adopted vote has no history.
    row = select(*values.values()).where(~is_there)
    return insert(feedback_changes).from_select(list(values), row).cte("noted")
