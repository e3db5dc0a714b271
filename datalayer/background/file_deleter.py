"""Deletes the files that have no row any more: at once where that can be, else later, by one small task.

What the store did not let go of, and what a crash left between the rows and their files, is in `blob_deletions`. It is
looked through at the start, after a failure with growing pauses, and once an hour, since other processes may crash.
"""

import asyncio
import contextvars
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from datalayer.blobs import BlobStore
from datalayer.cleaning import utc_now
from datalayer.database import Database
from datalayer.errors import BlobNotFound, ConfigurationError, DataLayerError
from datalayer.history import file_outbox

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 600.0
LOOK_EVERY_SECONDS = 3600.0
_AT_ONCE = 200
_PATIENCE_SECONDS = 10.0
_LET_GO_SECONDS = 1.0


@dataclass(slots=True)
class Disposed:
    """Which files are gone, and which were left; one that an element has again is neither."""

    deleted: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


class Disposal:
    """The end of files in one blob store, from one event loop."""

    def __init__(self, database: Database, blobs: BlobStore | None) -> None:
        """Nothing runs until `note` or a file that is left."""
        self._database = database
        self._blobs = blobs
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failures = 0
        self._noted = False
        self._closing = False

    async def delete(self, object_keys: Sequence[str], thread_id: str | None) -> Disposed:
        """Delete files that are in the queue; what is left there is tried again later."""
        disposed = Disposed()
        for at in range(0, len(object_keys), _AT_ONCE):
            some = await self._delete(dict.fromkeys(object_keys[at : at + _AT_ONCE], thread_id), logging.ERROR)
            disposed.deleted += some.deleted
            disposed.left += some.left
        if disposed.left:
            self._later(FIRST_PAUSE_SECONDS)
        return disposed

    def note(self) -> None:
        """There may be files to delete: look soon."""
        self._noted = True
        self._later(0)

    async def stop(self) -> None:
        """Give what is under way a second, and take up nothing more. The queue keeps what is left."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=_LET_GO_SECONDS)
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_LET_GO_SECONDS)

    def _later(self, seconds: float) -> None:
        if self._closing or self._blobs is None:
            return
        if self._task is not None and not self._task.done():
            self._noted = True
            return
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._begin)

    def _begin(self) -> None:
        self._timer = None
        # In a context of its own: it deletes for all users and must not inherit one of them.
        self._task = asyncio.get_running_loop().create_task(
            self._run(), name="datalayer-disposal", context=contextvars.Context()
        )
        self._task.add_done_callback(lambda _: self._plan())

    def _plan(self) -> None:
        if self._failures:
            self._later(min(FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 10), LONGEST_PAUSE_SECONDS))
        else:
            self._later(FIRST_PAUSE_SECONDS if self._noted else LOOK_EVERY_SECONDS)

    async def _run(self) -> None:
        self._noted = False
        try:
            deleted, left = await self._look_through()
        except DataLayerError as error:
            logger.warning("files wait to be deleted: %s", error)
            self._failures += 1
            return
        if deleted:
            logger.info("%d files that were left behind are deleted now", deleted)
        if left:
            logger.warning("%d files wait to be deleted: the store does not let go of them", left)
        self._failures = self._failures + 1 if left else 0

    async def _look_through(self) -> tuple[int, int]:
        now, after, deleted, left = utc_now(), 0, 0, 0
        while not self._closing:
            async with self._database.read() as connection:
                found = await file_outbox.due(connection, now, after=after, most=_AT_ONCE)
            if not found:
                break
            after = found[-1].id
            disposed = await self._delete({one.object_key: one.thread_id for one in found}, logging.DEBUG)
            deleted, left = deleted + len(disposed.deleted), left + len(disposed.left)
        return deleted, left

    async def _delete(self, threads: dict[str, str | None], level: int) -> Disposed:
        """Delete these, each with the thread that it was in; what fails is told at this level."""
        disposed = Disposed()
        try:
            kept = await self._database.query(lambda connection: file_outbox.in_use(connection, threads))
        except DataLayerError as error:
            for key, thread_id in threads.items():
                _tell(level, error, key, thread_id)
            return Disposed(left=list(threads))
        clock = asyncio.get_running_loop().time
        enough = clock() + _PATIENCE_SECONDS
        never_ours = []
        for key, thread_id in threads.items():
            if key in kept:
                continue
            if disposed.left and clock() > enough:
                # The store is away, and somebody waits. The task has the time.
                disposed.left.append(key)
                continue
            try:
                if self._blobs is None:
                    raise ConfigurationError("the data layer was made without a blob store")
                await self._blobs.delete(key)
            except BlobNotFound as error:
                # A key of another program's, from a database that was adopted. To ask again would not help.
                _tell(level, error, key, thread_id)
                disposed.left.append(key)
                never_ours.append(key)
            except DataLayerError as error:
                _tell(level, error, key, thread_id)
                disposed.left.append(key)
            else:
                disposed.deleted.append(key)
        await self._forget([*kept, *disposed.deleted, *never_ours])
        return disposed

    async def _forget(self, object_keys: Sequence[str]) -> None:
        if not object_keys:
            return
        try:
            async with self._database.write() as connection:
                await file_outbox.forget(connection, object_keys)
        except DataLayerError as error:
            # To delete them once more does no harm.
            logger.warning("files that are deleted stay in the queue of deletions for now: %s", error)
            self._later(FIRST_PAUSE_SECONDS)


def _tell(level: int, error: DataLayerError, object_key: str, thread_id: str | None) -> None:
    # The row is gone for good; the file is what is left to tell of.
    logger.log(level, "a file was left behind: %s", error, extra={"thread_id": thread_id, "object_key": object_key})
