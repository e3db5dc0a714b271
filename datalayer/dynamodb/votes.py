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
from datalayer.dynamodb.file_outbox import FileOutbox
from datalayer.dynamodb.items import Attribute, Item, text_of, to_attribute
from datalayer.dynamodb.keys import FEEDBACK, POINTER
from datalayer.dynamodb.long_texts import SHORTEST, LongTexts, Upload
from datalayer.dynamodb.recent import Recent
from datalayer.dynamodb.refusals import ConditionFailed
from datalayer.errors import InvalidRecord, NotFound, StorageUnavailable
from datalayer.history.deletion_marks import log_drop
from datalayer.ownership import Actor, actor_of, demand_write, may_read, owner_condition
from datalayer.records.writes import FavoriteMark, VoteRemoval, VoteWrite

_ATTEMPTS = 4
_LONG = POINTER + FEEDBACK


class Votes:
    """Casts and withdraws votes, and marks favourites, in one table."""

    def __init__(self, table: Table, long_texts: LongTexts, outbox: FileOutbox, recent: Recent) -> None:
        self._table, self._long_texts, self._outbox, self._recent = table, long_texts, outbox, recent

    async def cast(self, thread_id: str | None, write: VoteWrite) -> str:
        """Store or change the vote on a step; gives its id.

        Raises:
            NotFound: the step does not exist for the actor.
            InvalidRecord: the vote is too large.
        """
        if thread_id is None:
            raise NotFound(f"the step {write.vote.for_id} does not exist")
        upload = Upload(self._long_texts, thread_id, drops=False)
        try:
            vote = await self._cast(thread_id, write, upload)
        except BaseException:
            await upload.end(stored=False)
            raise
        await upload.end(stored=True)
        return vote

    async def _cast(self, thread_id: str, write: VoteWrite, upload: Upload) -> str:
        step_id, value = write.vote.for_id, write.vote.value
        whole: Item = {} if write.vote.comment is None else {"comment": {"S": write.vote.comment}}
        for _ in range(_ATTEMPTS):
            thread, step = await self._readable(thread_id, step_id, actor_of(write))
            vote = keys.vote_id(thread_id, step_id)
            stored = {"id": vote, "forId": step_id, "threadId": thread_id, "value": value}
            comment = await upload.shortened(step_id, whole)
            long = comment.get(f"{POINTER}comment")
            voter = text_of(thread, "userId")
            entry = {**keys.vote_key(thread_id, step_id, value), "forId": {"S": step_id}}
            if voter is not None:
                entry |= keys.in_index(keys.of_votes(voter, value), activity_of(thread))
            actions = [
                update(
                    keys.step_key(thread_id, step_id),
                    sets={
                        FEEDBACK: {"M": {**to_attribute(stored)["M"], **_shown(comment)}},
                        **({_LONG: long} if long else {}),
                    },
                    removes=[] if long else [_LONG],
                    condition="attribute_exists(PK)",
                ),
                put(entry),
                delete(keys.vote_key(thread_id, step_id, 1 - value)),
                _change(thread_id, step_id, write.moment, voter=voter, value=value, comment=comment),
                _same_owner(thread_id, thread),
            ]
            upload.is_sent = True
            try:
                await self._table.transact(actions)
            except ConditionFailed:
                upload.is_sent = False
                continue
            except InvalidRecord:
                upload.is_sent = False
                # The step may leave little room.
                if not whole or upload.most == SHORTEST:
                    raise
                upload.most = SHORTEST
                continue
            self._recent.note(thread_id, voter)
            await self._without_text(thread_id, step)
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
            change = _change_key(thread_id, step_id, write.moment, None)
            stored = await read(self._table, thread_id, [step_id], others=[change])
            step = stored.steps.get(step_id)
            if stored.thread is None or step is None or "M" not in step.get("feedback", {}):
                # If there is a record of it, the answer to this write was lost, and it is applied again.
                return bool(stored.others)
            thread, _ = await self._readable(thread_id, step_id, actor_of(write))
            actions = [
                update(
                    keys.step_key(thread_id, step_id),
                    sets={},
                    removes=[FEEDBACK, _LONG],
                    condition="attribute_exists(feedback)",
                ),
                *(delete(keys.vote_key(thread_id, step_id, value)) for value in (0, 1)),
                _change(thread_id, step_id, write.moment, voter=text_of(thread, "userId"), value=None, comment={}),
                _same_owner(thread_id, thread),
            ]
            try:
                await self._table.transact(actions)
            except ConditionFailed:
                continue
            self._recent.note(thread_id, owner_of(thread))
            await self._without_text(thread_id, step)
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

    async def _without_text(self, thread_id: str, step: Item) -> None:
        """Delete the comment of the vote that was replaced, unless a record of its change names the text."""
        if older := text_of(step, _LONG):
            await self._outbox.delete([older], thread_id)

    async def _readable(self, thread_id: str, step_id: str, actor: Actor) -> tuple[Item, Item]:
        stored = await read(self._table, thread_id, [step_id])
        step = stored.steps.get(step_id)
        if stored.thread is None or step is None or not may_read(actor, owner_of(stored.thread)):
            raise NotFound(f"the step {step_id} does not exist")
        return stored.thread, step


def _shown(comment: Item) -> Item:
    """A comment in the attribute of the vote, which has no place for keys of ours."""
    return {name: one for name, one in comment.items() if not name.startswith(POINTER)}


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
    thread_id: str, step_id: str, moment: str, *, voter: str | None, value: int | None, comment: Item
) -> Action:
    # A write that is applied again stores the same item, but for the key of a long comment.
    change = {"forId": step_id, "userId": voter, "value": value, "changedAt": moment}
    kept: dict[str, Any] = {name: to_attribute(one) for name, one in change.items() if one is not None} | comment
    return put({**_change_key(thread_id, step_id, moment, value), **kept})


def _change_key(thread_id: str, step_id: str, moment: str, value: int | None) -> Item:
    number = hashed_id(f"{moment} {value}")[:8]
    return keys.key(keys.partition(thread_id), f"{keys.CHANGE}{step_id}#{moment}#{number}")
