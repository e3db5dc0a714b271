"""Copies every file from one blob store to another, and checks each copy.

The SHA-256 of each copied file is compared with the one in its row. Files that exist at the target are read and
compared, and copied only if they differ. So an interrupted move can be repeated and continues where it stopped. The
source is not changed unless its deletion was requested; before it, every file is read at the target once more.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from datalayer.blobs import BlobStore, ListedBlob
from datalayer.blobs.copying import copy as copy_file
from datalayer.blobs.copying import sha256_of, size_of
from datalayer.concurrency import for_each
from datalayer.database import Database
from datalayer.errors import BlobError, BlobNotFound
from datalayer.history import elements
from datalayer.records.chat import Element

AT_ONCE = 4
_PAGE = 200
_BYTES = "application/octet-stream"


@dataclass(slots=True)
class MoveReport:
    """The numbers of files that were copied, existed at the target, failed, and were deleted from the source."""

    copied: int = 0
    there: int = 0
    failed: int = 0
    deleted: int = 0
    left: int = 0
    """Files that were added to the source during the move and are still there."""
    copied_bytes: int = 0
    seen_bytes: int = 0


class _Failure(BlobError):
    """The failure of one file; the move continues with the others."""


class FileMove:
    """One move of all files from a store to another."""

    def __init__(
        self,
        database: Database,
        source: BlobStore,
        target: BlobStore,
        *,
        at_once: int = AT_ONCE,
        failed: Callable[[str, str], None] = lambda _key, _words: None,
        progressed: Callable[[MoveReport], None] = lambda _report: None,
    ) -> None:
        """
        Args:
            at_once: how many files are copied concurrently; each takes a few MiB of memory.
            failed: called with the key of each file that could not be copied, and the reason.
            progressed: called after each file.
        """
        self._database, self._source, self._target = database, source, target
        self._at_once = at_once
        self._failed, self._progressed = failed, progressed
        self._report = MoveReport()

    async def plan(self) -> MoveReport:
        """The report of what `run` would copy, by comparing sizes. Nothing is written."""

        async def look(found: tuple[ListedBlob, Element | None]) -> None:
            blob, _ = found
            if await size_of(self._target, blob.key) == blob.size:
                self._report.there += 1
            else:
                self._report.copied += 1
                self._report.copied_bytes += blob.size
            self._seen(blob)

        await for_each(self._files(), look, concurrency=self._at_once)
        return self._report

    async def run(self, *, delete_source: bool = False) -> MoveReport:
        """Copy the files that the target lacks, or has with other contents.

        Args:
            delete_source: delete the files from the source at the end, if every one of them was read at the target
                and is correct.

        Raises:
            BlobError: a store cannot be listed, or a file cannot be deleted from the source.
            StorageUnavailable: the database cannot be used.
        """
        begun = datetime.now(UTC)
        await for_each(self._files(), self._move, concurrency=self._at_once)
        if delete_source and not self._report.failed:
            # A second pass reads the copies, and copies files that were added in the meantime.
            await for_each(self._files(), self._move_again, concurrency=self._at_once)
            if not self._report.failed:
                await self._delete_source(begun)
        return self._report

    async def _files(self) -> AsyncIterator[tuple[ListedBlob, Element | None]]:
        batch: list[ListedBlob] = []
        async for blob in self._source.list():
            batch.append(blob)
            if len(batch) == _PAGE:
                for found in await self._described(batch):
                    yield found
                batch = []
        for found in await self._described(batch):
            yield found

    async def _described(self, batch: list[ListedBlob]) -> list[tuple[ListedBlob, Element | None]]:
        if not batch:
            return []
        keys = [blob.key for blob in batch]
        known = await self._database.query(lambda connection: elements.by_object_key(connection, keys))
        return [(blob, known.get(blob.key)) for blob in batch]

    async def _move(self, found: tuple[ListedBlob, Element | None]) -> None:
        blob, element = found
        try:
            if await self._is_there(blob, element):
                self._report.there += 1
            elif await self._copy(blob, element):
                self._report.copied += 1
                self._report.copied_bytes += blob.size
        except BlobError as error:
            self._report.failed += 1
            self._failed(blob.key, str(error))
        self._seen(blob)

    async def _move_again(self, found: tuple[ListedBlob, Element | None]) -> None:
        blob, element = found
        try:
            if not await self._is_there(blob, element) and await self._copy(blob, element):
                self._report.copied += 1
                self._report.copied_bytes += blob.size
                if not await self._is_there(blob, element):
                    raise _Failure("the target's copy differs from the source")
        except BlobError as error:
            self._report.failed += 1
            self._failed(blob.key, str(error))

    async def _is_there(self, blob: ListedBlob, element: Element | None) -> bool:
        if await size_of(self._target, blob.key) != blob.size:
            return False
        expected = element.sha256 if element and element.sha256 else await sha256_of(self._source, blob.key)
        return await sha256_of(self._target, blob.key) == expected

    async def _copy(self, blob: ListedBlob, element: Element | None) -> bool:
        """Copy one file; False if it was deleted in the meantime."""
        mime = (element.mime if element else None) or _BYTES
        name = element.name if element else None
        try:
            stored = await copy_file(self._source, self._target, blob.key, mime, name)
        except BlobNotFound:
            if await size_of(self._source, blob.key) is None:
                # Deleted in the meantime.
                await self._target.delete(blob.key)
                return False
            raise
        if element and element.sha256 and element.sha256 != stored.sha256:
            raise _Failure("it was copied, but the source file is damaged: its SHA-256 differs from its row")
        return True

    async def _delete_source(self, begun: datetime) -> None:
        async for blob in self._source.list():
            if blob.modified < begun and await size_of(self._target, blob.key) == blob.size:
                await self._source.delete(blob.key)
                self._report.deleted += 1
            else:
                self._report.left += 1

    def _seen(self, blob: ListedBlob) -> None:
        self._report.seen_bytes += blob.size
        self._progressed(self._report)
