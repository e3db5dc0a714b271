"""Deletion of steps and of whole threads.

A transaction takes 100 actions, and a thread may have thousands of items. So the deletion of a thread begins with one
transaction that deletes the item of the thread and leaves a mark: from then on nobody reads the thread, and no late
write creates it again. What is left is deleted in batches. The mark is in the index, and has the owner, until that is
done: a repetition of the deletion, the deletion of the user, the next start, and after an hour the background task that
deletes files go on with it.
"""

import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from datalayer.blobs import BlobStore
from datalayer.cleaning import utc_in, utc_now
from datalayer.dynamodb import keys
from datalayer.dynamodb.actions import Action, check, delete, put, update
from datalayer.dynamodb.changes import read
from datalayer.dynamodb.client import MOST_ACTIONS, Table
from datalayer.dynamodb.dicts import owner_of
from datalayer.dynamodb.file_outbox import FileOutbox, queued
from datalayer.dynamodb.items import Item, from_attribute, text_of
from datalayer.dynamodb.recent import Recent
from datalayer.dynamodb.refusals import ConditionFailed
from datalayer.dynamodb.tables import EXPIRES
from datalayer.dynamodb.votes import entries_of_step
from datalayer.errors import StorageUnavailable
from datalayer.history.deletion_marks import KEPT_SECONDS
from datalayer.history.elements import STAYS_WITH_VERSION
from datalayer.ownership import Actor, actor_of, demand_write, may_write, owner_condition
from datalayer.records.writes import Removed, StepDeletion, ThreadCut, ThreadDeletion

_ATTEMPTS = 4
_UNDER_WAY_SECONDS = 3600.0
# Attributes of a mark, until its deletion is finished.
_OWNER, _IN_INDEX = "userIdentifier", "UserThreadPK"
_TABLES = {keys.STEP: "steps", keys.ELEMENT: "elements", keys.CHANGE: "feedback_changes"}


@dataclass(frozen=True)
class RemovedThread:
    """What was deleted of a thread: whether it existed, its owner, the number of items by kind, and its files."""

    existed: bool
    owner: str | None = None
    rows: dict[str, int] = field(default_factory=dict)
    row_ids: dict[str, tuple[str, ...]] = field(default_factory=dict)
    messages: int = 0
    files: tuple[str, ...] = ()
    files_left: tuple[str, ...] = ()


class Removal:
    """Deletes steps and threads of one table."""

    def __init__(self, table: Table, blobs: BlobStore | None, outbox: FileOutbox, recent: Recent) -> None:
        self._table, self._blobs, self._outbox, self._recent = table, blobs, outbox, recent
        # Not those that are under way: the receipt of a deletion has what that deletion finds.
        outbox.finish = lambda: self.finish(until=utc_in(-_UNDER_WAY_SECONDS))

    async def delete_thread(self, write: ThreadDeletion) -> RemovedThread:
        """Delete a thread with everything in it, or what an interrupted deletion has left of it.

        An unknown thread is not an error.

        Raises:
            Forbidden: the thread belongs to someone else.
        """
        actor, thread_id = actor_of(write), write.thread_id
        for _ in range(_ATTEMPTS):
            stored = await read(self._table, thread_id)
            if stored.thread is None:
                if stored.mark is None or not _is_unfinished(stored.mark, actor):
                    return RemovedThread(existed=False)
                return await self._purge(thread_id, owner_of(stored.mark))
            owner = owner_of(stored.thread)
            demand_write(actor, owner, "the thread")
            condition, values = owner_condition(owner)
            mark = {
                **keys.deleted_key(thread_id),
                **keys.in_index(keys.DELETIONS, utc_now()),
                EXPIRES: {"N": str(int(time.time() + KEPT_SECONDS))},
                **({} if owner is None else {_OWNER: {"S": owner}}),
                **{name: one for name, one in stored.thread.items() if name.startswith(keys.POINTER)},
            }
            try:
                await self._table.transact([delete(keys.thread_key(thread_id), condition, values), put(mark)])
            except ConditionFailed:
                continue
            self._recent.forget(thread_id)
            return await self._purge(thread_id, owner)
        raise StorageUnavailable("the thread is being changed by too many others")

    async def finish(self, owner: str | None = None, *, until: str | None = None) -> list[RemovedThread]:
        """Go on with the deletions that were begun and not finished: of threads of this owner or all, until a time."""
        removed: list[RemovedThread] = []
        async for page in self._table.query_index(keys.DELETIONS, until=until or utc_now()):
            marks = await self._table.get_many([{"PK": one["PK"], "SK": one["SK"]} for one in page])
            # The index may still have what was finished.
            going = [one for one in marks if _IN_INDEX in one and owner in (None, owner_of(one))]
            removed += [await self._purge(keys.thread_of(one), owner_of(one)) for one in going]
        return removed

    async def delete_step(self, thread_id: str | None, write: StepDeletion) -> Removed:
        """Delete a step with its votes and elements. An unknown step is not an error.

        Raises:
            Forbidden: the thread belongs to someone else.
        """
        if thread_id is None:
            return Removed(0)
        stored = await read(self._table, thread_id, [write.step_id])
        if stored.thread is None or write.step_id not in stored.steps:
            return Removed(0)
        demand_write(actor_of(write), owner_of(stored.thread), "the thread")
        elements = await self._table.query(keys.partition(thread_id), keys.ELEMENT)
        return await self._delete_steps(thread_id, stored.thread, [stored.steps[write.step_id]], elements)

    async def cut(self, write: ThreadCut) -> Removed:
        """Delete the steps after one of them, except those to keep, with their votes and elements.

        Raises:
            Forbidden: the thread belongs to someone else.
        """
        stored = await read(self._table, write.thread_id, [write.after_step_id])
        anchor = stored.steps.get(write.after_step_id)
        if stored.thread is None:
            return Removed(0)
        demand_write(actor_of(write), owner_of(stored.thread), "the thread")
        if anchor is None:
            return Removed(0)
        pk = keys.partition(write.thread_id)
        steps = await self._table.query(pk, keys.STEP)
        going = [one for one in steps if _is_after(one, anchor) and _id_of(one) not in write.keep]
        if write.late:
            going = [one for one in going if (text_of(one, "createdAt") or "") <= write.moment]
        elements = await self._table.query(pk, keys.ELEMENT) if going else []
        return await self._delete_steps(write.thread_id, stored.thread, going, elements)

    async def _delete_steps(
        self, thread_id: str, thread: Item, steps: Sequence[Item], elements: Sequence[Item]
    ) -> Removed:
        condition, values = owner_condition(owner_of(thread))
        own = check(keys.thread_key(thread_id), condition, values)
        files: dict[str, None] = {}
        actions: list[Action] = []
        for step in steps:
            step_id = _id_of(step)
            going = [one for one in elements if text_of(one, "forId") == step_id and not _stays(one)]
            named = [*keys.texts_of(step), *(key for one in going for key in keys.files_of(one))]
            # A transaction takes an item once.
            actions += [queued(thread_id, one, utc_now()) for one in dict.fromkeys(named) if one not in files]
            files |= dict.fromkeys(named)
            actions += [delete({"PK": one["PK"], "SK": one["SK"]}) for one in going]
            # The step is deleted last, so that a deletion that was interrupted can be repeated.
            actions += [delete(one) for one in entries_of_step(thread_id, step_id)]
            actions.append(delete(keys.step_key(thread_id, step_id)))
        # In as few transactions as it takes; each of them checks the owner.
        for at in range(0, len(actions), MOST_ACTIONS - 1):
            try:
                await self._table.transact([own, *actions[at : at + MOST_ACTIONS - 1]])
            except ConditionFailed:
                # The thread was deleted meanwhile, and its steps with it.
                break
        return Removed(len(steps), tuple(files), tuple(map(_id_of, steps)))

    async def _purge(self, thread_id: str, owner: str | None) -> RemovedThread:
        """Delete all that is left of a thread."""
        items = await self._table.query(keys.partition(thread_id))
        left = [one for one in items if one["SK"]["S"] != keys.DELETED]
        # The mark has the texts of the thread itself.
        marks = [one for one in items if one["SK"]["S"] == keys.DELETED]
        texts = sorted(name for one in marks for name in one if name.startswith(keys.POINTER))
        object_keys = {key for one in items for key in keys.files_of(one)}
        if self._blobs is not None:
            # Also what a crash left without an item.
            object_keys |= {blob.key async for blob in self._blobs.list(thread_id)}
        # Its items name them, and are deleted next.
        files = await self._outbox.delete_unnamed(sorted(object_keys), thread_id)
        kept = {keys.FILE + key for key in files.left}
        await self._table.delete_many(
            [{"PK": one["PK"], "SK": one["SK"]} for one in left if one["SK"]["S"] not in kept]
        )
        mark = keys.deleted_key(thread_id)
        done = update(
            mark, sets={}, removes=[_IN_INDEX, "UserThreadSK", _OWNER, *texts], condition="attribute_exists(PK)"
        )
        # An old mark may have expired.
        with suppress(ConditionFailed):
            await self._table.transact([done])
        rows, row_ids = _counted(left)
        return RemovedThread(
            existed=True,
            owner=owner,
            rows={"threads": 1, **rows},
            row_ids={"threads": (thread_id,), **row_ids},
            messages=sum((text_of(one, "type") or "").endswith("_message") for one in left if _is(one, keys.STEP)),
            files=tuple(files.deleted),
            files_left=tuple(files.left),
        )


def _is_unfinished(mark: Item, actor: Actor) -> bool:
    """Whether a deletion of a thread, which the actor might carry out, is not finished."""
    return _IN_INDEX in mark and may_write(actor, owner_of(mark))


def _counted(items: Collection[Item]) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
    rows: Counter[str] = Counter()
    ids: dict[str, list[str]] = {}
    for item in items:
        for beginning, table in _TABLES.items():
            if _is(item, beginning):
                rows[table] += 1
                if table != "feedback_changes":
                    ids.setdefault(table, []).append(str(item["SK"]["S"]).removeprefix(beginning))
        if _is(item, keys.STEP) and "feedback" in item:
            rows["feedbacks"] += 1
    return dict(rows), {table: tuple(sorted(some)) for table, some in ids.items()}


def _is(item: Item, beginning: str) -> bool:
    return str(item["SK"]["S"]).startswith(beginning)


def _is_after(step: Item, anchor: Item) -> bool:
    return (text_of(step, "createdAt") or "", _id_of(step)) > (text_of(anchor, "createdAt") or "", _id_of(anchor))


def _id_of(step: Item) -> str:
    return str(step["SK"]["S"]).removeprefix(keys.STEP)


def _stays(element: Item) -> bool:
    props = from_attribute(element["props"]) if "props" in element else None
    return isinstance(props, dict) and STAYS_WITH_VERSION in props
