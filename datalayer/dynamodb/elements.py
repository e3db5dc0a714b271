"""Elements: their items, and the announcement of their files."""

from datalayer.cleaning import utc_now
from datalayer.dynamodb import keys
from datalayer.dynamodb.actions import check, delete, update
from datalayer.dynamodb.changes import ThreadChange, read, thread_actions
from datalayer.dynamodb.client import Table
from datalayer.dynamodb.dicts import element_attributes, owner_of
from datalayer.dynamodb.file_outbox import queued
from datalayer.dynamodb.items import Attribute, Item, text_of
from datalayer.dynamodb.keys import POINTER
from datalayer.dynamodb.long_texts import SHORTEST, LongTexts, Upload
from datalayer.dynamodb.recent import Recent
from datalayer.dynamodb.refusals import ConditionFailed
from datalayer.errors import InvalidRecord, StorageUnavailable
from datalayer.history.deletion_marks import log_drop
from datalayer.ownership import actor_of, demand_write, owner_condition
from datalayer.records.writes import ElementDeletion, ElementWrite, FileAbandonment, FileAnnouncement, Removed

_ATTEMPTS = 4


class Elements:
    """Stores and deletes elements in one table."""

    def __init__(self, table: Table, long_texts: LongTexts, recent: Recent) -> None:
        self._table, self._long_texts, self._recent = table, long_texts, recent

    async def store(self, write: ElementWrite) -> Removed | None:
        """Store the given fields of an element, create its thread if it does not exist, and queue a replaced file.

        None if the thread was deleted: nothing was stored then.

        Raises:
            Forbidden: the thread belongs to someone else.
            InvalidRecord: the element has no thread, or is too large.
        """
        thread_id = _thread_of(write.element.thread_id)
        upload = Upload(self._long_texts, thread_id)
        try:
            removed = await self._store(write, thread_id, upload)
        except BaseException:
            await upload.end(stored=False)
            raise
        await upload.end(stored=removed is not None)
        return removed

    async def _store(self, write: ElementWrite, thread_id: str, upload: Upload) -> Removed | None:
        element, actor = write.element, actor_of(write)
        key = keys.element_key(thread_id, element.id)
        whole = element_attributes(element)
        change = ThreadChange(actor, opens=True, created_at=write.moment, activity=write.moment)
        for _ in range(_ATTEMPTS):
            stored = await read(self._table, thread_id, others=[key])
            if stored.thread is None and stored.is_deleted:
                log_drop(thread_id)
                return None
            if stored.thread is not None:
                demand_write(actor, owner_of(stored.thread), "the thread")
            actions = thread_actions(thread_id, change, stored, exists=stored.thread is not None)
            given = await upload.shortened(element.id, whole)
            pointers = [POINTER + name for name in whole if POINTER + name not in given]
            there = stored.others[0] if stored.others else {}
            upload.replaces([there[POINTER + name]["S"] for name in whole if POINTER + name in there])
            older = text_of(there, "objectKey")
            replaced = older if element.object_key is not None and older not in (None, element.object_key) else None
            if element.object_key is not None:
                # The file has an item now.
                actions.append(delete(keys.file_key(thread_id, element.object_key)))
            if replaced is not None:
                actions.append(queued(thread_id, replaced, utc_now()))
            # Chainlit's own layer needs the key of a file, even without a file.
            defaults: Item = {"name": {"S": ""}, "createdAt": {"S": write.moment}, "objectKey": {"NULL": True}}
            condition, values = _has_file(older)
            actions.append(
                update(
                    key,
                    sets={**given, "id": {"S": element.id}, "threadId": {"S": thread_id}},
                    removes=pointers,
                    defaults={name: one for name, one in defaults.items() if name not in given},
                    condition=condition,
                    values=values,
                )
            )
            upload.is_sent = True
            try:
                await self._table.transact(actions)
            except ConditionFailed:
                upload.is_sent = False
                continue
            except InvalidRecord:
                upload.is_sent = False
                # Attributes that are not long each may be so together.
                if upload.most == SHORTEST:
                    raise
                upload.most = SHORTEST
                continue
            self._recent.note(thread_id, change.owner)
            return Removed(0, (replaced,) if replaced is not None else ())
        raise StorageUnavailable("the element is being changed by too many others")

    async def delete(self, thread_id: str | None, write: ElementDeletion) -> Removed:
        """Delete an element and queue its file and long texts. An unknown element is not an error.

        Raises:
            Forbidden: the thread belongs to someone else.
        """
        actor, thread_id = actor_of(write), _thread_of(thread_id)
        key = keys.element_key(thread_id, write.element_id)
        for _ in range(_ATTEMPTS):
            stored = await read(self._table, thread_id, others=[key])
            if stored.thread is None or not stored.others:
                return Removed(0)
            demand_write(actor, owner_of(stored.thread), "the thread")
            condition, values = owner_condition(owner_of(stored.thread))
            actions = [check(keys.thread_key(thread_id), condition, values)]
            older = text_of(stored.others[0], "objectKey")
            actions.append(delete(key, *_has_file(older)))
            files = keys.files_of(stored.others[0])
            actions += [queued(thread_id, one, utc_now()) for one in files]
            try:
                await self._table.transact(actions)
            except ConditionFailed:
                continue
            return Removed(1, tuple(files))
        raise StorageUnavailable("the element is being changed by too many others")

    async def announce(self, write: FileAnnouncement) -> bool:
        """Queue the deletion of a file that is about to be stored; False if its thread was deleted.

        Raises:
            Forbidden: the thread belongs to someone else.
        """
        thread_id = _thread_of(write.thread_id)
        stored = await read(self._table, thread_id)
        if stored.thread is not None:
            demand_write(actor_of(write), owner_of(stored.thread), "the thread")
        elif stored.is_deleted:
            log_drop(thread_id)
            return False
        await self._table.transact([queued(thread_id, write.object_key, write.due_at)])
        return True

    async def abandon(self, write: FileAbandonment) -> None:
        """Queue the deletion of a file whose element is not stored."""
        # The key begins with the id of its thread.
        thread_id = write.object_key.partition("/")[0]
        await self._table.transact([queued(thread_id, write.object_key, utc_now())])


def _has_file(object_key: str | None) -> tuple[str, dict[str, Attribute]]:
    """The condition that an element has this file, or none, and the values of its placeholders."""
    if object_key is None:
        return "(attribute_not_exists(objectKey) OR objectKey = :older)", {":older": {"NULL": True}}
    return "objectKey = :older", {":older": {"S": object_key}}


def _thread_of(thread_id: str | None) -> str:
    if thread_id is None:
        raise InvalidRecord("in DynamoDB an element is stored and deleted with the id of its thread")
    return thread_id
