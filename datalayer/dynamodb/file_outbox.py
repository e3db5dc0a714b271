"""Files to delete: those of deleted elements, and those of uploads that have no item of their element yet.

Each is an item in the partition of its thread, and in the index by the time when it is due. It is stored with the
deletion of the element, or before the upload begins, and removed with the item of the element or after the file.
"""

import logging
from collections.abc import Sequence

from datalayer.background.file_deleter import DeletedFiles
from datalayer.background.task import BackgroundTask
from datalayer.blobs import BlobStore
from datalayer.cleaning import utc_now
from datalayer.dynamodb import keys
from datalayer.dynamodb.actions import Action, put
from datalayer.dynamodb.client import Table
from datalayer.dynamodb.items import Item, text_of
from datalayer.errors import BlobNotFound, DataLayerError

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 600.0
LOOK_EVERY_SECONDS = 3600.0


def queued(thread_id: str | None, object_key: str, due_at: str) -> Action:
    """The action that queues a file for deletion at this time."""
    item = {**keys.file_key(thread_id, object_key), "objectKey": {"S": object_key}}
    return put({**item, **keys.in_index(keys.FILES, due_at)})


class FileOutbox(BackgroundTask):
    """Deletes files in one blob store, from one event loop."""

    def __init__(self, table: Table, blobs: BlobStore | None) -> None:
        """Nothing runs until `note` or a file that could not be deleted."""
        super().__init__("datalayer-file-deleter")
        self._table, self._blobs = table, blobs
        self._noted = False

    async def delete(self, object_keys: Sequence[str], thread_id: str | None) -> DeletedFiles:
        """Delete files now; those that could not be deleted are queued and deleted later."""
        result = DeletedFiles()
        done: list[str] = []
        again: list[str] = []
        for object_key in object_keys:
            is_deleted = await self._delete(object_key, thread_id, logging.ERROR)
            (result.deleted if is_deleted else result.left).append(object_key)
            (again if is_deleted is False else done).append(object_key)
        await self._table.delete_many([keys.file_key(thread_id, key) for key in done])
        for object_key in again:
            await self._table.transact([queued(thread_id, object_key, utc_now())])
        if again and self._blobs is not None:
            self._begin_in(FIRST_PAUSE_SECONDS)
        return result

    def note(self) -> None:
        """There may be files to delete: look soon."""
        self._noted = True
        if self._blobs is not None and not self._is_running:
            self._begin_in(0)

    async def _work(self) -> bool:
        self._noted = False
        left = 0
        async for page in self._table.query_index(keys.FILES, until=utc_now()):
            # The index may still have what was removed.
            for item in await self._table.get_many([_key(one) for one in page]):
                object_key, thread_id = text_of(item, "objectKey"), keys.thread_of(item)
                if object_key is None or await self._delete(object_key, thread_id, logging.DEBUG) is False:
                    left += 1
                    continue
                await self._table.delete_many([_key(item)])
                logger.info("deleted a file that an earlier attempt had left in the store")
        if left:
            logger.warning("%d files could not be deleted from the store; they are retried", left)
        return not left

    def _report(self, reason: str) -> None:
        logger.warning("the deletion of files failed and is retried: %s", reason)

    def _next_pause(self) -> float | None:
        if self._failures:
            return self._back_off(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        return FIRST_PAUSE_SECONDS if self._noted else LOOK_EVERY_SECONDS

    async def _delete(self, object_key: str, thread_id: str | None, level: int) -> bool | None:
        """Whether the file was deleted: False if it may be later, None if it is not one of this store."""
        ids = {"thread_id": thread_id, "object_key": object_key}
        if self._blobs is None:
            logger.log(level, "a file cannot be deleted without the blob store", extra=ids)
            return False
        try:
            await self._blobs.delete(object_key)
        except BlobNotFound as error:
            # The key of another program. Retrying would not help.
            logger.log(level, "a file could not be deleted from the store: %s", error, extra=ids)
            return None
        except DataLayerError as error:
            logger.log(level, "a file could not be deleted from the store: %s", error, extra=ids)
            return False
        return True


def _key(item: Item) -> Item:
    return {"PK": item["PK"], "SK": item["SK"]}
