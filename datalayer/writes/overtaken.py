"""What a replay does with writes that newer ones have overtaken while they lay in the spool.

Another replica may have written to the same thread meanwhile, and the file of refused writes may be replayed later.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import known_id
from datalayer.records.writes import Recorded, StepWrite, VoteRemoval, VoteWrite, ids_of
from datalayer.schema.chat import feedback_changes, feedbacks, steps, threads

logger = logging.getLogger(__name__)

Times = dict[str, str]
"""The time of the newest change, by the id of the record."""


@dataclass(frozen=True, slots=True)
class Newer:
    """When the records of spooled writes were last changed. By default nothing is known to be newer than a write.

    Attributes:
        steps: by the id of the step.
        votes: when the owner of the thread last voted, or withdrew a vote, by the id of the step.
        vote_ids: by the id of the vote.
    """

    steps: Times = field(default_factory=dict)
    votes: Times = field(default_factory=dict)
    vote_ids: Times = field(default_factory=dict)

    def behind(self, write: Recorded) -> Recorded | None:
        """The write as it is to be stored; None if it is not stored any more.

        An older state of a step only fills in what is missing, as its late creation does. A vote, or its withdrawal,
        that is older than the user's latest one on the step is left out. Other writes have no time to compare.
        """
        match write:
            case StepWrite(step=step, created=False) if self.steps.get(step.id, "") > write.moment:
                return replace(write, created=True)
            case VoteWrite(vote=vote) if self.votes.get(vote.for_id, "") > write.moment:
                _say_left_out(write)
                return None
            case VoteRemoval(vote_id=vote_id) if self.vote_ids.get(vote_id, "") > write.moment:
                _say_left_out(write)
                return None
        return write


async def newer_than(connection: AsyncConnection, writes: Sequence[Recorded]) -> Newer:
    """When the records of these writes were last changed, in a query for each kind of write."""
    return Newer(
        await _times_of_steps(connection, _ids(one.step.id for one in writes if isinstance(one, StepWrite))),
        await _times_of_votes(connection, _ids(one.vote.for_id for one in writes if isinstance(one, VoteWrite))),
        await _times_of_vote_ids(connection, _ids(one.vote_id for one in writes if isinstance(one, VoteRemoval))),
    )


def _ids(given: Iterable[Any]) -> list[str]:
    """Those that can be ids: a line that somebody has changed is refused alone."""
    return [one for one in given if isinstance(one, str) and known_id(one)]


def _say_left_out(write: Recorded) -> None:
    thread_id, record_id = ids_of(write)
    ids = {"thread_id": thread_id, "record_id": record_id}
    logger.warning("a spooled vote is not stored, because the user has changed it since", extra=ids)


async def _times_of_steps(connection: AsyncConnection, ids: Sequence[str]) -> Times:
    if not ids:
        return {}
    found = select(steps.c.id, steps.c.updatedAt).where(steps.c.id.in_(ids), steps.c.updatedAt.is_not(None))
    return {row[0]: row[1] for row in await connection.execute(found)}


async def _times_of_votes(connection: AsyncConnection, step_ids: Sequence[str]) -> Times:
    """When the owner of the thread last voted on these steps, or withdrew a vote. Only owners vote in the chat."""
    if not step_ids:
        return {}
    change = feedback_changes.c
    by_owner = and_(threads.c.id == change.threadId, or_(change.userId == threads.c.userId, change.userId.is_(None)))
    found = (
        select(change.forId, func.max(change.changedAt))
        .join(threads, by_owner)
        .where(change.forId.in_(step_ids))
        .group_by(change.forId)
    )
    return {row[0]: row[1] for row in await connection.execute(found)}


async def _times_of_vote_ids(connection: AsyncConnection, vote_ids: Sequence[str]) -> Times:
    if not vote_ids:
        return {}
    found = select(feedbacks.c.id, feedbacks.c.updatedAt).where(feedbacks.c.id.in_(vote_ids))
    return {row[0]: row[1] for row in await connection.execute(found) if row[1] is not None}
