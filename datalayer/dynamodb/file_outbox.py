"""Files to delete: those of deleted elements, and those of uploads that have no item of their element yet.

Each is an item in the partition of its thread, and in the index by the time when it is due. It is stored with the
deletion of the element, or before the upload begins, and removed with the item of the element or after the file. A file
that an item of its thread names is not deleted: its item may have been stored although nobody was told so.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from datalayer.background.file_deleter import DeletedFiles
from datalayer.background.task import BackgroundTask
from datalayer.blobs import BlobStore
from datalayer.blobs.text_keys import record_of
from datalayer.cleaning import utc_now
from datalayer.concurrency import for_each
from datalayer.dynamodb import keys
from datalayer.dynamodb.actions import Action, put
from datalayer.dynamodb.client import Table
from datalayer.dynamodb.items import text_of
from datalayer.errors import BlobNotFound, DataLayerError

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 600.0
LOOK_EVERY_SECONDS = 3600.0
PATIENCE_SECONDS = 10.0
"""After a failure, and after this time, no further file is tried: a caller waits."""
_AT_ONCE = 8


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
        self.finish: Callable[[], Awaitable[object]] | None = None
        """Goes on with deletions of threads that were interrupted; called at the end of each run."""

    async def delete(self, object_keys: Sequence[str], thread_id: str | None) -> DeletedFiles:
        """Delete files that are queued, now; those that could not be deleted stay queued and are deleted later.

        A file that an item names is left alone, and is not queued any more.
        """
        try:
            kept = await self._named(object_keys, thread_id)
        except DataLayerError as error:
            for object_key in object_keys:
                _log_failure(logging.ERROR, error, object_key, thread_id)
            self._look_soon()
            return DeletedFiles(left=list(object_keys))
        result, again = await self._delete([one for one in object_keys if one not in kept], thread_id, logging.ERROR)
        await self._forget([one for one in object_keys if one not in again], thread_id)
        if again:
            self._look_soon()
        return result

    async def delete_unnamed(self, object_keys: Sequence[str], thread_id: str) -> DeletedFiles:
        """Delete files that no item will name; those that could not be deleted are queued and deleted later.

        Raises:
            StorageUnavailable: a file could be neither deleted nor queued.
        """
        result, again = await self._delete(object_keys, thread_id, logging.ERROR)
        await self._forget([one for one in object_keys if one not in again], thread_id)
        if again:
            await self.queue([one for one in object_keys if one in again], thread_id, utc_now())
            self._look_soon()
        return result

    async def queue(self, object_keys: Sequence[str], thread_id: str, due_at: str) -> None:
        """Queue files: they are deleted at this time, unless an item names them by then."""
        await self._table.put_many(
            [queued(thread_id, one, due_at)["Put"]["Item"] for one in dict.fromkeys(object_keys)]
        )

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
            by_thread: dict[str, list[str]] = {}
            for item in await self._table.get_many([{"PK": one["PK"], "SK": one["SK"]} for one in page]):
                object_key = str(item["SK"]["S"]).removeprefix(keys.FILE)
                by_thread.setdefault(keys.thread_of(item), []).append(object_key)
            failed: list[str] = []

            async def of_thread(some: tuple[str, list[str]], failed: list[str] = failed) -> None:
                thread_id, object_keys = some
                kept = await self._named(object_keys, thread_id)
                unnamed = [one for one in object_keys if one not in kept]
                result, again = await self._delete(unnamed, thread_id, logging.DEBUG)
                await self._forget([one for one in object_keys if one not in again], thread_id)
                failed += again
                if result.deleted:
                    logger.info("deleted %d files that earlier attempts had left in the store", len(result.deleted))

            await for_each(by_thread.items(), of_thread, concurrency=_AT_ONCE)
            left += len(failed)
        if left:
            logger.warning("%d files could not be deleted from the store; they are retried", left)
        if self.finish is not None:
            await self.finish()
        return not left

    def _report(self, reason: str) -> None:
        logger.warning("the deletion of files failed and is retried: %s", reason)

    def _next_pause(self) -> float | None:
        if self._failures:
            return self._back_off(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        return FIRST_PAUSE_SECONDS if self._noted else LOOK_EVERY_SECONDS

    def _look_soon(self) -> None:
        if self._blobs is not None:
            self._begin_in(FIRST_PAUSE_SECONDS)

    async def _named(self, object_keys: Collection[str], thread_id: str | None) -> set[str]:
        """Those of these keys that an item of the thread names: an element its file, each kind its long texts."""
        texts = {one: record_id for one in object_keys if (record_id := record_of(one)) is not None}
        named: set[str] = set()
        if len(texts) < len(object_keys):
            elements = await self._table.query(keys.partition(thread_id or keys.NOWHERE), keys.ELEMENT)
            named |= {key for one in elements if (key := text_of(one, "objectKey")) is not None}
        if texts and thread_id is not None:
            places = [of(thread_id, one) for one in set(texts.values()) for of in (keys.step_key, keys.element_key)]
            items = await self._table.get_many([*places, keys.thread_key(thread_id)])
            named |= {key for one in items for key in keys.texts_of(one)}
            # The records of the changes of votes are read only if nothing else names a text.
            left = {record_id for key, record_id in texts.items() if key not in named}
            beginnings = [f"{keys.CHANGE}{one}#" for one in left]
            for some in await asyncio.gather(
                *(self._table.query(keys.partition(thread_id), one) for one in beginnings)
            ):
                named |= {key for one in some for key in keys.texts_of(one)}
        return named.intersection(object_keys)

    async def _forget(self, object_keys: Sequence[str], thread_id: str | None) -> None:
        try:
            await self._table.delete_many([keys.file_key(thread_id, one) for one in object_keys])
        except DataLayerError as error:
            # Deleting them a second time does no harm.
            logger.warning("could not remove deleted files from their queue; their deletion is repeated: %s", error)
            self._look_soon()

    async def _delete(
        self, object_keys: Sequence[str], thread_id: str | None, level: int
    ) -> tuple[DeletedFiles, set[str]]:
        """Delete files a few at a time; gives the result, and those that may be deleted later."""
        result, again = DeletedFiles(), set[str]()
        clock = asyncio.get_running_loop().time
        enough = clock() + PATIENCE_SECONDS

        async def delete(object_key: str) -> None:
            if again and clock() > enough:
                # The store is unavailable and a caller waits; the background task retries.
                is_deleted: bool | None = False
            else:
                is_deleted = await self._delete_one(object_key, thread_id, level)
            (result.deleted if is_deleted else result.left).append(object_key)
            if is_deleted is False:
                again.add(object_key)

        await for_each(object_keys, delete, concurrency=min(_AT_ONCE, len(object_keys)))
        return result, again

    async def _delete_one(self, object_key: str, thread_id: str | None, level: int) -> bool | None:
        """Whether the file was deleted: False if it may be later, None if it is not one of this store."""
        if self._blobs is None:
            ids = {"thread_id": thread_id, "object_key": object_key}
            logger.log(level, "a file cannot be deleted without the blob store", extra=ids)
            return False
        try:
            await self._blobs.delete(object_key)
        except BlobNotFound as error:
            # The key of another program. Retrying would not help.
            _log_failure(level, error, object_key, thread_id)
            return None
        except DataLayerError as error:
            _log_failure(level, error, object_key, thread_id)
            return False
        return True


def _log_failure(level: int, error: DataLayerError, object_key: str, thread_id: str | None) -> None:
    ids = {"thread_id": thread_id, "object_key": object_key}
    logger.log(level, "a file could not be deleted from the store: %s", error, extra=ids)
