"""The base of the data layer: reads and writes with checks of ownership, through the queue, with failures reported.

Nothing here depends on Chainlit. A write is queued before the first await, so writes are applied in the order of the
calls. A failed write is logged with its ids, reported to `on_write_failure`, and raised.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from datalayer import migrations
from datalayer.background.answer_follower import AnswerFollower
from datalayer.background.file_deleter import FileDeleter
from datalayer.background.search_indexer import SearchIndexer
from datalayer.base_store import BaseStore, WriteFailure
from datalayer.blobs import BlobStore
from datalayer.cleaning import known_id
from datalayer.database import Database
from datalayer.errors import (
    InvalidRecord,
)
from datalayer.history import deletion_marks, elements, thread_reads, threads
from datalayer.history.thread_reads import WholeThread
from datalayer.ownership import Actor, acting_user, may_read
from datalayer.read_replica import ReadReplica
from datalayer.records.chat import Element, Thread, is_shared
from datalayer.records.usage import LlmCallWrite
from datalayer.records.writes import ElementDeletion, Recorded, Removed, StepDeletion, ThreadCut, ThreadDeletion, ids_of
from datalayer.writes.overtaken import Newer, newer_than
from datalayer.writes.queue import Writer

logger = logging.getLogger(__name__)

T = TypeVar("T")

_CLOSE_SECONDS = 2.0
MOST_THREADS = 100


# A tuple, because a union of types is made anew by each call.
_DELETIONS = (ThreadDeletion, ThreadCut, StepDeletion)


class DataStore(BaseStore):
    """One database and one blob store; ownership is checked and every failed write is reported."""

    _writer: Writer

    def __init__(
        self,
        database: Database,
        blobs: BlobStore | None,
        *,
        file_url: Callable[[Element], str] | None = None,
        on_write_failure: Callable[[WriteFailure], Awaitable[None]] | None = None,
        patience_seconds: float = 60.0,
        spool: Path | None = None,
        read_database: Database | None = None,
    ) -> None:
        super().__init__(
            blobs,
            file_url=file_url,
            on_write_failure=on_write_failure,
            patience_seconds=patience_seconds,
            spool=spool,
        )
        self.database = database
        self._replica = ReadReplica(database, read_database) if read_database is not None else None
        wrote = self._replica.wrote if self._replica is not None else None
        self._writer = Writer(database, patience_seconds=patience_seconds, wrote=wrote)
        self.file_deleter = FileDeleter(database, blobs)
        self.search_indexer = SearchIndexer(database, is_busy=lambda: len(self._writer) > 0)
        self.answer_follower = AnswerFollower(database)

    # The schema and the connections

    async def migrate(self, *, removals: bool = False) -> list[str]:
        """Create or upgrade the schema, and store the writes of an earlier process from the spool file.

        From then on, files that an earlier process left without a row are deleted in the background.

        Args:
            removals: apply also the migrations that an older version does not survive, because none runs any more.

        Returns:
            The names of the migrations applied.

        Raises:
            SchemaError: a migration cannot be applied. Those before it may be.
            StorageUnavailable: the database cannot be reached, or the spool file cannot be read or changed.
        """
        applied = await migrations.migrate(self.database, removals=removals)
        await migrations.add_partitions(self.database)
        await self._replay_spooled()
        # After the replay, which is the oldest that a mark has to hold up.
        async with self.database.write() as connection:
            await deletion_marks.expire(connection)
        self.search_indexer.note()
        self.file_deleter.note()
        return applied

    async def is_new(self) -> bool:
        """Whether the database has no tables at all, neither ours nor Chainlit's."""
        return await migrations.is_new(self.database)

    async def pending_migrations(self) -> list[str]:
        """The names of the migrations that `migrate` would apply."""
        return await migrations.pending_migrations(self.database)

    async def pending_removals(self) -> list[str]:
        """The names of the migrations that wait until no replica runs an older version: `migrate(removals=True)`."""
        return await migrations.pending_removals(self.database)

    async def ping(self) -> None:
        """Check the database.

        Raises:
            StorageUnavailable: the database gives no answer.
        """
        await self.database.ping()

    async def clock_ahead(self) -> float:
        """The seconds by which the database's clock is ahead of this machine's.

        Raises:
            StorageUnavailable: the database gives no answer.
        """
        return await self.database.clock_ahead()

    async def texts_to_index(self) -> int:
        """How many texts of all users the search cannot find yet; a large number may be five seconds old."""
        return await self.search_indexer.count()

    @property
    def read_replica(self) -> ReadReplica | None:
        """The standby that serves lists, searches, usage and the review; None without one."""
        return self._replica

    async def close(self, deadline_seconds: float = 4.0) -> None:
        """Store the queued writes and uploads until the deadline, spool the rest, and close all connections."""
        ends = time.monotonic() + deadline_seconds
        await asyncio.gather(self.search_indexer.stop(), self.answer_follower.stop(), self.file_deleter.stop())
        await self._uploads.close(deadline_seconds / 2)
        spooled, lost = await self._writer.close(max(ends - time.monotonic(), deadline_seconds / 4), self._rescue)
        self._report_unstored(spooled, lost)
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                if self._blobs is not None:
                    await self._blobs.close()
                await self.database.close()
                if self._replica is not None:
                    await self._replica.close()
        except TimeoutError:
            logger.warning("the connections were not closed within %s seconds", _CLOSE_SECONDS)

    # Shared by the methods of the features

    def _submit(self, write: Recorded, thread_id: str | None = None) -> asyncio.Future[Any]:
        return self._writer.submit(write, thread_id)

    async def _read(self, work: Callable[[Database], Awaitable[T]], *, now: bool = False) -> T:
        """The result of `work`, which only reads and may be a moment behind what others store.

        Args:
            now: whether it must show everything that this process has stored, by whomever.
        """
        if self._replica is None:
            return await work(self.database)
        return await self._replica.read(work, acting_user.get(), now=now)

    def _note_files(self) -> None:
        self.file_deleter.note()

    async def _newer_than(self, writes: Sequence[Recorded]) -> Newer:
        return await self.database.query(partial(newer_than, writes=writes))

    async def _apply(self, write: Recorded) -> Any:
        """Store the write, and delete the files that have no row any more because of it."""
        thread_id, _ = ids_of(write)
        result = await self._writer.store(write, thread_id, self._note_of(write))
        if isinstance(result, Removed):
            if isinstance(write, ElementDeletion):
                self._uploads.end(element_ids=[write.element_id])
            elif result.step_ids:
                self._uploads.end(step_ids=result.step_ids)
            if result.object_keys:
                await self.file_deleter.delete(result.object_keys, thread_id)
        return result

    def _note_of(self, write: Recorded) -> Callable[[], None] | None:
        """What the background is told when the write is stored."""
        if isinstance(write, LlmCallWrite):
            # The row of a call has no text to find; without a step, it is no part of an answer either.
            return None if write.call.step_id is None else self.answer_follower.note
        return self._note_deletion if isinstance(write, _DELETIONS) else self._note_write

    def _note_write(self) -> None:
        self.search_indexer.note()
        self.answer_follower.note()

    def _note_deletion(self) -> None:
        self.search_indexer.note(deleted=True)
        self.answer_follower.note()

    async def _thread(self, thread_id: str, actor: Actor) -> Thread | None:
        """The thread without its contents, or None if the actor may not read it."""
        known = known_id(thread_id)
        if known is None:
            return None
        await self._writer.settled(known)
        thread = await threads.find(self.database, known)
        found = thread is not None and _is_readable(actor, thread.user_identifier, thread.metadata)
        return thread if found else None

    async def _thread_owner(self, thread_id: str, actor: Actor) -> str | None:
        """The identifier of the thread's owner; None if it has none, or the actor may not read it."""
        known = known_id(thread_id)
        if known is None:
            return None
        await self._writer.settled(known)
        found = await threads.find_owner(self.database, known)
        return found[0] if found is not None and _is_readable(actor, *found) else None

    async def _whole_thread(self, thread_id: str, actor: Actor) -> WholeThread | None:
        """The thread with its contents, or None if the actor may not read it."""
        known = known_id(thread_id)
        if known is None:
            return None
        await self._contents_settled(known)
        whole = await thread_reads.get(self.database, known)
        if whole is None or not _is_readable(actor, whole.thread.user_identifier, whole.thread.metadata):
            return None
        return whole

    async def _whole_threads(self, thread_ids: Sequence[str], actor: Actor) -> list[WholeThread]:
        """The threads with their contents, in the order of the ids, without those that the actor may not read."""
        if len(thread_ids) > MOST_THREADS:
            raise InvalidRecord(f"at most {MOST_THREADS} threads are read at once")
        known = [cleaned for one in thread_ids if (cleaned := known_id(one)) is not None]
        await asyncio.gather(*(self._uploads.settled(one) for one in known))
        await self._writer.settled()
        found = await thread_reads.get_many(self.database, known)
        return [
            whole
            for one in known
            if (whole := found.get(one)) is not None
            and _is_readable(actor, whole.thread.user_identifier, whole.thread.metadata)
        ]

    async def _contents_settled(self, thread_id: str) -> None:
        """Wait until the files in progress have their rows, and then until the queued writes are stored."""
        await self._uploads.settled(thread_id)
        await self._writer.settled(thread_id)

    async def _element(self, thread_id: str, element_id: str, actor: Actor) -> Element | None:
        """The element of this thread, or None if the actor may not read it."""
        values = await self._element_values(thread_id, element_id, actor)
        return None if values is None else Element(*values)

    async def _element_values(self, thread_id: str, element_id: str, actor: Actor) -> Sequence[Any] | None:
        """As `_element`: the values of its fields."""
        known, known_thread = known_id(element_id), known_id(thread_id)
        if known is None or known_thread is None:
            return None
        await self._contents_settled(known_thread)
        found = await elements.find(self.database, known_thread, known)
        return found[2] if found is not None and _is_readable(actor, found[0], found[1]) else None


def _is_readable(actor: Actor, owner: str | None, about_thread: Mapping[str, Any] | None) -> bool:
    return may_read(actor, owner, shared=is_shared(about_thread))
