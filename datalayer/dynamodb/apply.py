"""Applies the writes of a lane: steps and changes of the thread together, every other write alone."""

from collections.abc import Sequence
from typing import Any, cast

from datalayer.dynamodb import keys
from datalayer.dynamodb.actions import update
from datalayer.dynamodb.batches import MOST_WRITES, Batches
from datalayer.dynamodb.changes import BatchWrite, read
from datalayer.dynamodb.client import Table
from datalayer.dynamodb.dicts import owner_of
from datalayer.dynamodb.elements import Elements
from datalayer.dynamodb.items import text_of
from datalayer.dynamodb.refusals import ConditionFailed
from datalayer.dynamodb.removal import Removal
from datalayer.dynamodb.users import Users
from datalayer.dynamodb.votes import Votes
from datalayer.errors import InvalidRecord
from datalayer.ownership import actor_of, demand_write, owner_condition
from datalayer.records.usage import LlmCallWrite
from datalayer.records.writes import (
    ElementDeletion,
    ElementWrite,
    FavoriteMark,
    FileAbandonment,
    FileAnnouncement,
    Recorded,
    StepDeletion,
    StepWrite,
    ThreadCut,
    ThreadDeletion,
    ThreadRename,
    ThreadWrite,
    UserWrite,
    VoteRemoval,
    VoteWrite,
)


def joins(first: Recorded, write: Recorded, count: int) -> bool:
    """Whether a write is stored in one transaction with the first of a batch of so many."""
    if not isinstance(first, BatchWrite) or not isinstance(write, BatchWrite):
        return False
    return count < MOST_WRITES and (first.actor, first.system) == (write.actor, write.system)


class Writes:
    """Applies writes to one table."""

    def __init__(
        self,
        table: Table,
        *,
        batches: Batches,
        users: Users,
        votes: Votes,
        elements: Elements,
        removal: Removal,
    ) -> None:
        self._table, self._batches, self._users = table, batches, users
        self._votes, self._elements, self._removal = votes, elements, removal

    async def apply(self, thread_id: str | None, writes: Sequence[Recorded]) -> list[Any]:
        """Store the writes of one lane together; gives their results."""
        first = writes[0]
        if isinstance(first, BatchWrite):
            assert thread_id is not None
            await self._batches.store(thread_id, cast(Sequence[BatchWrite], writes))
            return [None] * len(writes)
        (write,) = writes
        return [await self._alone(thread_id, write)]

    async def _alone(self, thread_id: str | None, write: Recorded) -> Any:  # noqa: PLR0911, PLR0912  one for each kind
        match write:
            case UserWrite():
                return await self._users.store(write)
            case ThreadRename():
                return await self._rename(write)
            case ThreadDeletion():
                return await self._removal.delete_thread(write)
            case ThreadCut():
                return await self._removal.cut(write)
            case StepDeletion():
                return await self._removal.delete_step(thread_id, write)
            case FavoriteMark():
                return await self._votes.mark(thread_id, write)
            case VoteWrite():
                return await self._votes.cast(thread_id, write)
            case VoteRemoval():
                return await self._votes.withdraw(write)
            case ElementWrite():
                return await self._elements.store(write)
            case ElementDeletion():
                return await self._elements.delete(thread_id, write)
            case FileAnnouncement():
                return await self._elements.announce(write)
            case FileAbandonment():
                return await self._elements.abandon(write)
            case LlmCallWrite() | StepWrite() | ThreadWrite():
                raise InvalidRecord("calls to models are not stored in DynamoDB")

    async def _rename(self, write: ThreadRename) -> bool:
        stored = await read(self._table, write.thread_id)
        if stored.thread is None:
            return False
        demand_write(actor_of(write), owner_of(stored.thread), "the thread")
        name = text_of(stored.thread, "name")
        if name != write.expected:
            # The answer to this write may have been lost.
            return name == write.name
        condition, values = owner_condition(owner_of(stored.thread))
        named = "#name = :name" if write.expected is not None else "(attribute_not_exists(#name) OR #name = :name)"
        expected = {"NULL": True} if write.expected is None else {"S": write.expected}
        action = update(
            keys.thread_key(write.thread_id),
            sets={"name": {"S": write.name}},
            condition=f"{condition} AND {named}",
            values={**values, ":name": expected},
            names={"#name": "name"},
        )
        try:
            await self._table.transact([action])
        except ConditionFailed:
            return False
        return True
