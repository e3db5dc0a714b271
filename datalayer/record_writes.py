"""How writes that are data, other than steps, are applied: thread updates and votes, under ownership."""

from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer import feedback, steps, threads
from datalayer.dialects import Dialect
from datalayer.errors import Forbidden, NotFound
from datalayer.ownership import SYSTEM, Actor, demand_write, may_read
from datalayer.records import ThreadWrite, VoteRemoval, VoteWrite


async def apply(connection: AsyncConnection, dialect: Dialect, write: ThreadWrite | VoteWrite | VoteRemoval) -> Any:
    """Apply the write; gives the id of a vote that was cast, and whether there was one to take back.

    Raises:
        Forbidden: the thread, or the vote, is someone else's, or the thread would become so.
        NotFound: there is no such step for the one who votes.
    """
    actor: Actor = SYSTEM if write.system else write.actor
    if isinstance(write, ThreadWrite):
        await demand(connection, write.thread.id, actor)
        await threads.upsert(connection, dialect, write.thread, write.moment)
        # Whoever makes or gives away a thread must be its owner afterwards.
        await demand(connection, write.thread.id, actor)
        return None
    if isinstance(write, VoteWrite):
        thread, voter = await _voter(connection, write.vote.for_id, actor)
        vote = replace(write.vote, thread_id=thread, user_id=voter)
        return await feedback.upsert(connection, dialect, vote, now=write.moment)
    found = await feedback.get(connection, write.vote_id)
    if found is None:
        return False
    _, voter = await _voter(connection, found.for_id, actor)
    if voter != found.user_id:
        raise Forbidden("the vote is someone else's")
    await feedback.delete_feedback(connection, found, now=write.moment)
    return True


async def demand(connection: AsyncConnection, thread_id: str, actor: Actor) -> bool:
    """Whether the thread is there; raises Forbidden where it is and belongs to someone else."""
    exists, owner = await threads.owner(connection, thread_id)
    if exists:
        demand_write(actor, owner, "the thread")
    return exists


async def _voter(connection: AsyncConnection, step_id: str, actor: Actor) -> tuple[str, str | None]:
    """The step's thread, and the user in whose name the actor votes there."""
    thread_id = await steps.thread_of(connection, step_id)
    thread = await threads.get(connection, thread_id, contents=False) if thread_id else None
    if thread is None or not may_read(actor, thread.user_identifier):
        raise NotFound("there is no such step")
    return thread.id, thread.user_id
