"""Votes: a vote with its history row, and its withdrawal."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Executable,
    Integer,
    Text,
    case,
    cast,
    delete,
    insert,
    null,
    select,
    union_all,
)

from datalayer.database import Run
from datalayer.dialects import Dialect
from datalayer.dialects.lone import UNDECIDED
from datalayer.errors import Forbidden, NotFound
from datalayer.history.feedback import WITHDRAWAL, change_id
from datalayer.ownership import Actor, actor_of, kind_of, writable_by
from datalayer.records.writes import VoteRemoval, VoteWrite
from datalayer.schema.chat import (
    NAMED_VOTE,
    NAMELESS_VOTE,
    Identifier,
    feedback_changes,
    feedbacks,
    steps,
    threads,
)
from datalayer.schema.review import review_pending
from datalayer.writes.single.parts import acting, given
from datalayer.writes.single.statement import SingleWrite


def cast_vote(dialect: Dialect, write: VoteWrite) -> SingleWrite:
    """Store or change the vote of the thread's owner; gives its id.

    Refused with NotFound if the step does not exist for the acting user.
    """
    vote, actor = write.vote, actor_of(write)
    values = {
        **{"new_id": vote.id, "new_forId": vote.for_id, "new_value": vote.value, "new_comment": vote.comment},
        **{"new_moment": write.moment, "new_changeId": change_id(vote.id, write.moment, vote.value), **acting(actor)},
    }
    kind = kind_of(actor)

    def result(rows: Sequence[Any]) -> str:
        if not rows:
            raise NotFound(f"the step {vote.for_id} does not exist")
        kept: str = rows[0][0]
        return kept

    if kind != "":
        return SingleWrite(_cast(type(dialect), kind, (True, False)), values, result)

    async def without_voter(run: Run) -> str:
        return result(await run(_cast(type(dialect), kind, (False,)), values))

    # The thread of a user nearly always has the user's id, and an INSERT that has nothing to do is not for free.
    named = _cast(type(dialect), kind, (True,))
    return SingleWrite(named, values, lambda rows: result(rows) if rows else UNDECIDED, without_voter)


def withdraw_vote(dialect: Dialect, write: VoteRemoval) -> SingleWrite:
    """Delete the vote; its history stays. False if there is no such vote.

    Refused with NotFound if the step does not exist for the acting user, with Forbidden if the vote is someone else's.
    """
    actor = actor_of(write)
    values = {"new_id": write.vote_id, "new_moment": write.moment, **acting(actor)}
    values["new_changeId"] = change_id(write.vote_id, write.moment, None)

    def result(rows: Sequence[Any]) -> Any:
        if not rows:
            return UNDECIDED
        step_id, is_own, gone = rows[0]
        if is_own is None:
            raise NotFound(f"the step {step_id} does not exist")
        if not is_own:
            raise Forbidden("the vote is someone else's")
        return gone is not None

    async def is_repeated(run: Run) -> bool:
        # There is no such vote, or the answer to this write was lost and it is applied again.
        return bool(await run(WITHDRAWAL, {"change_id": values["new_changeId"]}))

    return SingleWrite(_withdraw(type(dialect), kind_of(actor)), values, result, is_repeated)


@cache
def _cast(dialect: type[Dialect], kind: Actor, has_voter: tuple[bool, ...]) -> Executable:
    """The statement that stores a vote with its history row; it gives the id of the vote.

    Args:
        has_voter: whether it stores votes with a user's id, without one, or both.
    """
    step_id, moment = given("forId", Identifier), given("moment", Text())
    # Locked first, as by every write: a deletion of the thread waits, or this statement finds no thread.
    step = (
        select(threads.c.id, threads.c.userId)
        .join_from(steps, threads, threads.c.id == steps.c.threadId)
        .where(steps.c.id == step_id, writable_by(kind, threads.c.userIdentifier))
        .with_for_update(read=True, key_share=True, of=threads)
        .cte("step")
    )

    def stored(name: str, has_voter: bool) -> CTE:
        values = {
            "id": given("id", Identifier),
            "forId": step_id,
            "threadId": step.c.id,
            "userId": step.c.userId,
            "value": given("value", Integer()),
            "comment": given("comment", Text()),
            "updatedAt": moment,
        }
        voter = step.c.userId
        chosen = select(*values.values()).where(voter.is_not(None) if has_voter else voter.is_(None))
        made = dialect.insert(feedbacks).from_select(list(values), chosen)
        # As in `history.feedback.upsert`.
        changes = {name: made.excluded[name] for name in ("value", "comment", "updatedAt")}
        changes["reasons"] = case((feedbacks.c.value == made.excluded.value, feedbacks.c.reasons))
        target = (
            {"index_elements": [feedbacks.c.forId, feedbacks.c.userId], "index_where": NAMED_VOTE}
            if has_voter
            else {"index_elements": [feedbacks.c.forId], "index_where": NAMELESS_VOTE}
        )
        kept: CTE = made.on_conflict_do_update(**target, set_=changes).returning(*_OF_CHANGE).cte(name)
        return kept

    # Each of the two unique indexes is the conflict of one INSERT.
    made = [stored("named" if one else "nameless", one) for one in has_voter]
    kept = made[0] if len(made) == 1 else union_all(*map(select, made)).cte("kept")
    noted = _noted(dialect, kept, moment, is_withdrawn=False)
    return select(kept.c.id).add_cte(noted)


@cache
def _withdraw(dialect: type[Dialect], kind: Actor) -> Executable:
    """The statement that deletes a vote. It gives the step of the vote, whether the actor's user cast it (NULL if the
    actor may not see the step), and the id of the deleted vote."""
    moment = given("moment", Text())
    vote = select(*_OF_CHANGE).where(feedbacks.c.id == given("id", Identifier)).cte("vote")
    step = (
        select(threads.c.userId.is_not_distinct_from(vote.c.userId).label("is_own"))
        .join_from(vote, steps, steps.c.id == vote.c.forId)
        .join(threads, threads.c.id == steps.c.threadId)
        .where(writable_by(kind, threads.c.userIdentifier))
        .with_for_update(read=True, key_share=True, of=threads)
        .cte("step")
    )
    gone = (
        delete(feedbacks)
        .where(feedbacks.c.id == vote.c.id, select(step.c.is_own).scalar_subquery())
        .returning(*_OF_CHANGE)
        .cte("gone")
    )
    marked = insert(review_pending).from_select(["threadId"], select(gone.c.threadId)).cte("marked")
    noted = _noted(dialect, gone, moment, is_withdrawn=True)
    return select(vote.c.forId, select(step.c.is_own).scalar_subquery(), select(gone.c.id).scalar_subquery()).add_cte(
        marked, noted
    )


_OF_CHANGE = feedbacks.c.id, feedbacks.c.forId, feedbacks.c.threadId, feedbacks.c.userId


def _noted(dialect: type[Dialect], of: CTE, moment: ColumnElement[str], *, is_withdrawn: bool) -> CTE:
    """The history rows of these votes; a repeated write stores none again, as in `history.feedback`."""
    value: ColumnElement[Any] = cast(null(), Integer) if is_withdrawn else given("value", Integer())
    comment: ColumnElement[Any] = cast(null(), Text) if is_withdrawn else given("comment", Text())
    values = {
        "id": given("changeId", Identifier),
        "feedbackId": of.c.id,
        "forId": of.c.forId,
        "threadId": of.c.threadId,
        "userId": of.c.userId,
        "value": value,
        "comment": comment,
        "changedAt": moment,
    }
    made = dialect.insert(feedback_changes).from_select(list(values), select(*values.values()))
    noted: CTE = made.on_conflict_do_nothing(index_elements=[feedback_changes.c.id]).cte("noted")
    return noted
