"""Votes, which are part of their steps, and favourites: each with an entry of the index by which it is found.

The entry of a vote is an item beside the step. It is stored in one transaction with the vote in the step, the removal
of the entry of the opposite vote, and a record of the change, which stays when the step is deleted.
"""

from typing import Any

from datalayer.cleaning import hashed_id
from datalayer.dynamodb import keys
from datalayer.dynamodb.actions import Action, check, delete, put, update
from datalayer.dynamodb.changes import favorite_entry, read
from datalayer.dynamodb.client import Table
from datalayer.dynamodb.dicts import activity_of, owner_of
from datalayer.dynamodb.items import Attribute, Item, text_of, to_attribute
from datalayer.dynamodb.recent import Recent
from datalayer.dynamodb.refusals import ConditionFailed
from datalayer.errors import NotFound, StorageUnavailable
from datalayer.history.deletion_marks import log_drop
from datalayer.ownership import Actor, actor_of, demand_write, may_read, owner_condition
from datalayer.records.writes import FavoriteMark, VoteRemoval, VoteWrite

_ATTEMPTS = 4


class Votes:
    """Casts and withdraws votes, and marks favourites, in one table."""

    def __init__(self, table: Table, recent: Recent) -> None:
        self._table, self._recent = table, recent

    async def cast(self, thread_id: str | None, write: VoteWrite) -> str:
        """Store or change the vote on a step; gives its id.

        Raises:
            NotFound: the step does not exist for the actor.
        """
        step_id, value = write.vote.for_id, write.vote.value
        if thread_id is None:
            raise NotFound(f"the step {step_id} does not exist")
        for _ in range(_ATTEMPTS):
            thread, _step = await self._readable(thread_id, step_id, actor_of(write))
            vote = keys.vote_id(thread_id, step_id)
            stored = {
                **{"id": vote, "forId": step_id, "threadId": thread_id, "value": value},
                **({} if write.vote.comment is None else {"comment": write.vote.comment}),
            }
            voter = text_of(thread, "userId")
            entry = {**keys.vote_key(thread_id, step_id, value), "forId": {"S": step_id}}
            if voter is not None:
                entry |= keys.in_index(keys.of_votes(voter, value), activity_of(thread))
            actions = [
                update(
                    keys.step_key(thread_id, step_id),
                    sets={"feedback": to_attribute(stored)},
                    condition="attribute_exists(PK)",
                ),
                put(entry),
                delete(keys.vote_key(thread_id, step_id, 1 - value)),
                _change(thread_id, step_id, write.moment, voter=voter, value=value, comment=write.vote.comment),
                _same_owner(thread_id, thread),
            ]
            try:
                await self._table.transact(actions)
            except ConditionFailed:
                continue
            self._recent.note(thread_id, voter)
            return vote
        raise StorageUnavailable("the step is being changed by too many others")

    async def withdraw(self, write: VoteRemoval) -> bool:
        """Withdraw a vote; False if it does not exist.

        Raises:
            NotFound: the step does not exist for the actor.
        """
        place = keys.place_of_vote(write.vote_id)
        if place is None:
            return False
        thread_id, step_id = place
        for _ in range(_ATTEMPTS):
            stored = await read(self._table, thread_id, [step_id])
            step = stored.steps.get(step_id)
            if stored.thread is None or step is None or "M" not in step.get("feedback", {}):
                return False
            thread, _ = await self._readable(thread_id, step_id, actor_of(write))
            actions = [
                update(
                    keys.step_key(thread_id, step_id),
                    sets={},
                    removes=["feedback"],
                    condition="attribute_exists(feedback)",
                ),
                *(delete(keys.vote_key(thread_id, step_id, value)) for value in (0, 1)),
                _change(thread_id, step_id, write.moment, voter=text_of(thread, "userId"), value=None, comment=None),
                _same_owner(thread_id, thread),
            ]
            try:
                await self._table.transact(actions)
            except ConditionFailed:
                continue
            self._recent.note(thread_id, owner_of(thread))
            return True
        raise StorageUnavailable("the step is being changed by too many others")

    async def mark(self, thread_id: str | None, write: FavoriteMark) -> None:
        """Set or clear the favourite mark of a step.

        Raises:
            NotFound: the step does not exist.
            Forbidden: the thread belongs to someone else.
        """
        step_id = write.step_id
        if thread_id is None:
            raise NotFound(f"the step {step_id} does not exist")
        for _ in range(_ATTEMPTS):
            stored = await read(self._table, thread_id, [step_id])
            step = stored.steps.get(step_id)
            if stored.thread is None or step is None:
                if stored.is_deleted:
                    log_drop(thread_id)
                    return
                raise NotFound(f"the step {step_id} does not exist")
            demand_write(actor_of(write), owner_of(stored.thread), "the thread")
            try:
                await self._table.transact(_marking(thread_id, step_id, stored.thread, step, favorite=write.favorite))
            except ConditionFailed:
                continue
            self._recent.note(thread_id, owner_of(stored.thread))
            return
        raise StorageUnavailable("the step is being changed by too many others")

    async def _readable(self, thread_id: str, step_id: str, actor: Actor) -> tuple[Item, Item]:
        stored = await read(self._table, thread_id, [step_id])
        step = stored.steps.get(step_id)
        if stored.thread is None or step is None or not may_read(actor, owner_of(stored.thread)):
            raise NotFound(f"the step {step_id} does not exist")
        return stored.thread, step


def entries_of_step(thread_id: str, step_id: str) -> list[Item]:
    """The keys of the entries that may exist beside a step."""
    votes = [keys.vote_key(thread_id, step_id, value) for value in (0, 1)]
    return [*votes, keys.favorite_key(thread_id, step_id)]


def _marking(thread_id: str, step_id: str, thread: Item, step: Item, *, favorite: bool) -> list[Action]:
    mark = to_attribute(favorite)
    sets: dict[str, Attribute] = {}
    inside: dict[str, dict[str, Attribute | None]] | None = None
    if "M" in step.get("metadata", {}):
        condition, inside = "attribute_type(metadata, :map)", {"metadata": {"favorite": mark}}
    else:
        condition, sets = (
            "attribute_exists(PK) AND NOT attribute_type(metadata, :map)",
            {"metadata": {"M": {"favorite": mark}}},
        )
    key = keys.step_key(thread_id, step_id)
    actions = [update(key, sets=sets, inside=inside, condition=condition, values={":map": {"S": "M"}})]
    owner = text_of(thread, "userId")
    if favorite and owner is not None:
        actions.append(put(favorite_entry(thread_id, step_id, owner, text_of(step, "createdAt") or "")))
    else:
        actions.append(delete(keys.favorite_key(thread_id, step_id)))
    return [*actions, _same_owner(thread_id, thread)]


def _same_owner(thread_id: str, thread: Item) -> Action:
    condition, values = owner_condition(owner_of(thread))
    return check(keys.thread_key(thread_id), condition, values)


def _change(
    thread_id: str, step_id: str, moment: str, *, voter: str | None, value: int | None, comment: str | None
) -> Action:
    # A write that is applied again stores the same item.
    change = {"forId": step_id, "userId": voter, "value": value, "comment": comment, "changedAt": moment}
    kept: dict[str, Any] = {name: to_attribute(one) for name, one in change.items() if one is not None}
    number = hashed_id(f"{moment} {value}")[:8]
    return put({**keys.key(keys.partition(thread_id), f"{keys.CHANGE}{step_id}#{moment}#{number}"), **kept})
