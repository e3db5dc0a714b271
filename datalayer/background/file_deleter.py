"""Deletes files whose rows are deleted: immediately if possible, otherwise later in a background task.

Files that the store did not delete, and files that a crash left without a row, are in the table `blob_deletions`. It is
read at the start, once an hour because other processes may crash, and after a failure with growing pauses.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.background.task import BackgroundTask
from datalayer.blobs import BlobStore
from datalayer.cleaning import utc_now
from datalayer.concurrency import for_each
from datalayer.database import Database
from datalayer.errors import BlobNotFound, ConfigurationError, DataLayerError
from datalayer.history import file_outbox

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 600.0
LOOK_EVERY_SECONDS = 3600.0
_AT_ONCE = 200
_DELETED_AT_ONCE = 8
_PATIENCE_SECONDS = 10.0


@dataclass(slots=True)
class DeletedFiles:
    """The keys of the files that were deleted and of those that could not be. A file in use again is in neither.

    Those of `left` that no store can have are `given_up`, too: their deletion is not tried again.
    """

    deleted: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)


class FileDeleter(BackgroundTask):
    """Deletes files in one blob store, from one event loop."""

    def __init__(self, database: Database, blobs: BlobStore | None) -> None:
        """Nothing runs until `note` or a file that could not be deleted."""
        super().__init__("datalayer-file-deleter")
        self._database = database
        self._blobs = blobs
        self._noted = False

    async def delete(self, object_keys: Sequence[str], thread_id: str | None) -> DeletedFiles:
        """Delete files that are in `blob_deletions`; those that could not be deleted stay there and are retried."""
        result = DeletedFiles()
        for at in range(0, len(object_keys), _AT_ONCE):
            some = await self._delete(dict.fromkeys(object_keys[at : at + _AT_ONCE], thread_id), logging.ERROR)
            result.deleted += some.deleted
            result.left += some.left
            result.given_up += some.given_up
        if len(result.left) > len(result.given_up):
            self._look_in(FIRST_PAUSE_SECONDS)
        return result

    def note(self) -> None:
        """There may be files to delete: look soon."""
        self._noted = True
        self._look_in(0)

    def _look_in(self, seconds: float) -> None:
        if self._blobs is None:
            return
        if self._is_running:
            self._noted = True
            return
        self._begin_in(seconds)

    async def _work(self) -> bool:
        self._noted = False
        deleted, left = await self._delete_due()
        if deleted:
            logger.info("deleted %d files that earlier attempts had left in the store", deleted)
        if left:
            logger.warning("%d files could not be deleted from the store; they are retried", left)
        return not left

    def _report(self, reason: str) -> None:
        logger.warning("the deletion of files failed and is retried: %s", reason)

    def _next_pause(self) -> float | None:
        if self._failures:
            return self._back_off(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        return FIRST_PAUSE_SECONDS if self._noted else LOOK_EVERY_SECONDS

    async def _delete_due(self) -> tuple[int, int]:
        """Delete every file that is due; gives how many were deleted, and how many could not be."""
        now, after, deleted, left = utc_now(), 0, 0, 0
        while not self._closing:
            async with self._database.read() as connection:
                found = await file_outbox.due(connection, now, after=after, most=_AT_ONCE)
            if not found:
                break
            after = found[-1].id
            result = await self._delete({one.object_key: one.thread_id for one in found}, logging.DEBUG)
            deleted, left = deleted + len(result.deleted), left + len(result.left) - len(result.given_up)
            if result.given_up:
                logger.warning("%d files are not deleted: the store has none of their keys", len(result.given_up))
        return deleted, left

    async def _delete(self, threads: dict[str, str | None], level: int) -> DeletedFiles:
        """Delete the files of these keys, each with the id of its thread; failures are logged at this level."""
        result = DeletedFiles()
        try:
            kept = await self._database.query(lambda connection: file_outbox.in_use(connection, threads))
        except DataLayerError as error:
            for key, thread_id in threads.items():
                _log_failure(level, error, key, thread_id)
            return DeletedFiles(left=list(threads))
        clock = asyncio.get_running_loop().time
        enough = clock() + _PATIENCE_SECONDS

        async def delete(key: str) -> None:
            if result.left and clock() > enough:
                # The store is unavailable and a caller waits; the background task retries.
                result.left.append(key)
                return
            try:
                if self._blobs is None:
                    raise ConfigurationError("the data layer was created without a blob store: pass `blobs`")
                await self._blobs.delete(key)
            except BlobNotFound as error:
                # The key of another program, from an adopted database. Retrying would not help.
                _log_failure(level, error, key, threads[key])
                result.left.append(key)
                result.given_up.append(key)
            except DataLayerError as error:
                _log_failure(level, error, key, threads[key])
                result.left.append(key)
            else:
                result.deleted.append(key)

        await for_each([key for key in threads if key not in kept], delete, concurrency=_DELETED_AT_ONCE)
        await self._forget(file_outbox.forget_used, kept)
        await self._forget(file_outbox.forget, [*result.deleted, *result.given_up])
        return result

    async def _forget(
        self, forget: Callable[[AsyncConnection, Collection[str]], Awaitable[None]], object_keys: Collection[str]
    ) -> None:
        if not object_keys:
            return
        try:
            async with self._database.write_once() as connection:
                await forget(connection, object_keys)
        except DataLayerError as error:
            # Deleting them a second time does no harm.
            logger.warning(
                "could not remove deleted files from the queue `blob_deletions`; their deletion is repeated: %s", error
            )
            self._look_in(FIRST_PAUSE_SECONDS)


def _log_failure(level: int, error: DataLayerError, object_key: str, thread_id: str | None) -> None:
    # The row is deleted already; the object key is all that identifies the file.
    ids = {"thread_id": thread_id, "object_key": object_key}
    logger.log(level, "a file could not be deleted from the store: %s", error, extra=ids)
