"""Uploads to the blob store: retried while it is unavailable, bounded in number, ended by `close`.

Every attempt of an upload goes to the same key, so a retry creates no second file. Of two uploads of one element, the
one that was started last wins, regardless of which ends first.
"""

import asyncio
import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datalayer.blobs.base import BlobStore, StoredBlob
from datalayer.errors import BlobError, BlobRefused

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
# Each holds a few chunks of up to 5 MiB.
MOST_AT_ONCE = 16
_ANNOUNCEMENT_SECONDS = 1.0
_SETTLED_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to upload. `mime` and `name` are the headers of the store's own URLs."""

    key: str
    content: bytes | Path
    mime: str
    name: str | None
    thread_id: str | None
    element_id: str


@dataclass(slots=True)
class _ElementUploads:
    """The uploads of one element: the number of started ones, the last one with a written row, the last one before a
    deletion of the element, the number in progress, and their steps."""

    started: int = 0
    written: int = 0
    ended: int = 0
    running: int = 0
    step_ids: set[str | None] = field(default_factory=set)


@dataclass(slots=True)
class _ThreadUploads:
    """The number of uploads of one thread in progress, and the event of their end."""

    running: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class UploadTicket:
    """The position of an upload among those of its element."""

    def __init__(self, uploads: _ElementUploads) -> None:
        uploads.started += 1
        self._uploads, self._number = uploads, uploads.started

    def take(self) -> bool:
        """Whether the row may be written: no later upload has written one. Call it just before queueing the row."""
        if self._uploads.written > self._number:
            return False
        self._uploads.written = self._number
        return True

    @property
    def is_ended(self) -> bool:
        """Whether the element or its step was deleted in the meantime, and no later upload stores it again."""
        return self._number < self._uploads.ended == self._uploads.started


class Uploads:
    """The uploads to one blob store, from one event loop."""

    def __init__(self, *, patience_seconds: float) -> None:
        """
        Args:
            patience_seconds: how long an upload is retried, from its first failure on.
        """
        self._patience = patience_seconds
        self._at_once = asyncio.Semaphore(MOST_AT_ONCE)
        self._elements: dict[str, _ElementUploads] = {}
        self._threads: dict[str | None, _ThreadUploads] = {}
        self._running: set[asyncio.Task[StoredBlob | None]] = set()
        self._pausing: set[asyncio.Task[Any]] = set()
        self._closing = asyncio.Event()

    @contextmanager
    def ticket(self, element_id: str, step_id: str | None, thread_id: str | None) -> Iterator[UploadTicket]:
        """Holds a position in the order of the calls during the upload, until the row of the element is stored."""
        of_thread = self._threads.setdefault(thread_id, _ThreadUploads())
        of_thread.running += 1
        uploads = self._elements.setdefault(element_id, _ElementUploads())
        uploads.running += 1
        uploads.step_ids.add(step_id)
        try:
            yield UploadTicket(uploads)
        finally:
            uploads.running -= 1
            if not uploads.running:
                del self._elements[element_id]
            of_thread.running -= 1
            if not of_thread.running:
                del self._threads[thread_id]
                of_thread.ended.set()

    async def settled(self, thread_id: str) -> None:
        """Wait, a second at most, until the elements of this thread whose files are being stored have their rows.

        A store that is away is not waited for: a thread can be read without it.
        """
        if (of_thread := self._threads.get(thread_id)) is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SETTLED_SECONDS):
                    await of_thread.ended.wait()

    def end(self, *, element_ids: Collection[str] = (), step_ids: Collection[str] = ()) -> None:
        """Mark the uploads of deleted elements, or of the elements of deleted steps, as too late."""
        of_steps = set(step_ids)
        for element_id, uploads in self._elements.items():
            if element_id in element_ids or uploads.step_ids & of_steps:
                uploads.started += 1
                uploads.written = uploads.ended = uploads.started

    async def put(self, blobs: BlobStore, upload: Upload, announced: asyncio.Future[Any]) -> StoredBlob | None:
        """Store the bytes, with retries while the patience lasts.

        Args:
            announced: True when the database has recorded the upload, falsy if its thread was deleted. It is awaited
                for one second at most: an unavailable database does not prevent the upload.

        Returns:
            The stored blob; None if nothing was stored, because the thread was deleted.

        Raises:
            BlobError: the store failed for longer than the patience, the file cannot be read any more, or the layer was
                closed.
            DataLayerError: the announcement was refused.
        """
        task = asyncio.create_task(self._announced_and_sent(blobs, upload, announced))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await task
        except asyncio.CancelledError:
            if self._closing.is_set() and not _is_cancelled_itself():
                raise BlobError("the file was not stored before the data layer was closed") from None
            raise

    async def close(self, deadline_seconds: float) -> None:
        """Finish the uploads in progress within the deadline, and cancel those that wait for a retry."""
        self._closing.set()
        for task in self._pausing:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=deadline_seconds)
        left = list(self._running)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1)

    async def _announced_and_sent(
        self, blobs: BlobStore, upload: Upload, announced: asyncio.Future[Any]
    ) -> StoredBlob | None:
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait((announced, closing), timeout=_ANNOUNCEMENT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
        if announced.done() and not announced.result():
            return None
        return await self._insist(blobs, upload)

    async def _insist(self, blobs: BlobStore, upload: Upload) -> StoredBlob:
        loop, pause, give_up = asyncio.get_running_loop(), FIRST_PAUSE_SECONDS, None
        while True:
            try:
                async with self._at_once:
                    return await blobs.put(upload.key, upload.content, upload.mime, name=upload.name)
            except BlobRefused:
                raise
            except BlobError as error:
                # From the first failure on: sending a large file may take longer than the patience.
                give_up = give_up or loop.time() + self._patience
                if self._closing.is_set() or loop.time() + pause > give_up or not await _is_there(upload.content):
                    raise
                ids = {"thread_id": upload.thread_id, "record_id": upload.element_id}
                logger.warning("an upload failed and is retried: %s", error, extra=ids)
            await self._pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _pause(self, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pausing.add(task)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._pausing.discard(task)


async def _is_there(content: bytes | Path) -> bool:
    # Chainlit deletes the folder of uploaded files at the end of the session.
    return isinstance(content, bytes) or await asyncio.to_thread(os.access, content, os.R_OK)


def _is_cancelled_itself() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
