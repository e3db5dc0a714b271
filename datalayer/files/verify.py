"""Compares what the rows of elements say of their files with what the blob store holds, in both directions.

Rows are read in pages by their key, and the store's listing in batches that are looked up by theirs, so that any number
of files takes the same memory. What is found is told at once and not kept. An upload stores the file first and its row
next, and a deletion removes the row first and the file next: what is young, and what is queued for deletion, is neither
wrong nor touched. No repair deletes a row.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import select

from datalayer.blobs import BlobStore, ListedBlob
from datalayer.cleaning import utc_now
from datalayer.concurrency import for_each
from datalayer.database import Database
from datalayer.errors import BlobError, BlobNotFound
from datalayer.history import elements
from datalayer.history.elements import MISSING_SINCE
from datalayer.records.chat import Element
from datalayer.schema.chat import blob_deletions

GRACE_SECONDS = 3600.0
AT_ONCE = 8
_PAGE = 200

Problem = Literal["missing", "size", "checksum", "unreadable", "orphan", "unfinished"]


@dataclass(frozen=True, slots=True)
class FileProblem:
    """One thing that is wrong with the file under this key: a row's `missing` file, one whose `size` or `checksum` is
    not its row's, one that the store does not give out (`unreadable`), a file without a row (`orphan`), or what a
    broken upload left behind (`unfinished`)."""

    kind: Problem
    key: str
    thread_id: str | None = None
    element_id: str | None = None
    words: str = ""
    repaired: bool = False
    marked: bool = False
    """The row of a `missing` file is marked now: wrong still, and counted as `known_missing` from the next look on."""


@dataclass(slots=True)
class FileReport:
    """How many of what were found. Sizes are in bytes."""

    rows: int = 0
    blobs: int = 0
    read_bytes: int = 0
    problems: Counter[Problem] = field(default_factory=Counter)
    repaired: Counter[Problem] = field(default_factory=Counter)
    marked: int = 0
    """Rows that this repair marked, because their file is missing."""
    known_missing: int = 0
    """Files that an earlier repair found to be missing, and marked."""
    found_again: int = 0
    without_checksum: int = 0
    checksums_added: int = 0
    uploads_unknown: str = ""
    """Why broken uploads could not be looked for."""

    @property
    def left(self) -> int:
        """How many problems are not repaired."""
        return self.problems.total() - self.repaired.total()


class FileCheck:
    """One look at all files of one database and one store."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        repair: bool = False,
        quick: bool = False,
        grace_seconds: float = GRACE_SECONDS,
        found: Callable[[FileProblem], None] = lambda _problem: None,
        progressed: Callable[[FileReport], None] = lambda _report: None,
    ) -> None:
        """Nothing happens yet.

        Args:
            repair: delete files without a row and what broken uploads left; mark rows whose file is missing, under
                `fileMissingSince` in `extra`, and take the mark away where the file is back; keep checksums of files
                whose rows have none.
            quick: compare sizes alone, and read no file.
            grace_seconds: how old a file without a row, or an upload, must be to be wrong.
            found: is told of each problem.
            progressed: is told after each file.
        """
        self._database, self._blobs = database, blobs
        self._repairs, self._quick = repair, quick
        self._young = datetime.now(UTC) - timedelta(seconds=grace_seconds)
        self._found, self._progressed = found, progressed
        self._report = FileReport()

    async def run(self) -> FileReport:
        """Look at every row, then at every file, then at the uploads under way.

        Raises:
            BlobError: the store cannot be listed.
            StorageUnavailable: the database cannot be used.
        """
        await for_each(self._rows(), self._check_row, concurrency=AT_ONCE)
        batch: list[ListedBlob] = []
        async for blob in self._blobs.list():
            batch.append(blob)
            if len(batch) == _PAGE:
                await self._check_blobs(batch)
                batch = []
        await self._check_blobs(batch)
        try:
            await self._check_uploads()
        except BlobError as error:
            # Where nothing else is wrong, a right that only this look needs must not make it so.
            self._report.uploads_unknown = str(error)
        return self._report

    async def _check_uploads(self) -> None:
        async for upload in self._blobs.unfinished():
            if upload.modified < self._young:
                if self._repairs:
                    await self._blobs.discard(upload)
                self._tell(FileProblem("unfinished", upload.name, repaired=self._repairs))

    async def _rows(self) -> AsyncIterator[Element]:
        after: str | None = None
        while True:
            position = after
            page = await self._database.query(
                lambda connection: elements.with_files(connection, after=position, limit=_PAGE)  # noqa: B023
            )
            for element in page:
                yield element
            if len(page) < _PAGE:
                return
            after = page[-1].id

    async def _check_row(self, element: Element) -> None:
        self._report.rows += 1
        while (problem := await self._problem_of(element)) is not None:
            newest = await self._database.query(lambda connection: elements.get(connection, element.id))  # noqa: B023
            if newest is None or newest.object_key is None:
                # Deleted while it was looked at.
                break
            if (newest.object_key, newest.byte_size, newest.sha256) != (
                element.object_key,
                element.byte_size,
                element.sha256,
            ):
                # Replaced while it was looked at.
                element = newest
                continue
            if problem.kind == "missing":
                await self._missing(newest, problem)
            else:
                self._tell(problem)
            break
        self._progressed(self._report)

    async def _problem_of(self, element: Element) -> FileProblem | None:
        key = str(element.object_key)
        ids = (key, element.thread_id, element.id)
        try:
            size, sha256 = await self._measure(key)
        except BlobNotFound:
            return FileProblem("missing", *ids)
        except BlobError as error:
            return FileProblem("unreadable", *ids, str(error))
        if (element.extra or {}).get(MISSING_SINCE) is not None:
            self._report.found_again += 1
            if self._repairs:
                async with self._database.write() as connection:
                    await elements.mark_file(connection, self._database.dialect, element, None)
        if element.byte_size is not None and element.byte_size != size:
            return FileProblem("size", *ids, f"{size} bytes, and {element.byte_size} by its row")
        if element.sha256 is None:
            await self._describe(element, size, sha256)
        elif sha256 is not None and element.sha256 != sha256:
            return FileProblem("checksum", *ids, f"its SHA-256 is {sha256}, and {element.sha256} by its row")
        return None

    async def _measure(self, key: str) -> tuple[int, str | None]:
        if self._quick:
            async with await self._blobs.open(key, 0, 0) as blob:
                return blob.size, None
        digest, size = hashlib.sha256(), 0
        async with await self._blobs.open(key) as blob:
            async for chunk in blob:
                await asyncio.to_thread(digest.update, chunk)
                size += len(chunk)
                self._report.read_bytes += len(chunk)
        return size, digest.hexdigest()

    async def _describe(self, element: Element, size: int, sha256: str | None) -> None:
        self._report.without_checksum += 1
        if self._repairs and sha256 is not None:
            async with self._database.write() as connection:
                self._report.checksums_added += await elements.describe_file(connection, element, size, sha256)

    async def _missing(self, element: Element, problem: FileProblem) -> None:
        if (element.extra or {}).get(MISSING_SINCE) is not None:
            self._report.known_missing += 1
            return
        if self._repairs:
            async with self._database.write() as connection:
                await elements.mark_file(connection, self._database.dialect, element, utc_now())
            self._report.marked += 1
            problem = replace(problem, marked=True)
        self._tell(problem)

    async def _check_blobs(self, batch: Sequence[ListedBlob]) -> None:
        self._report.blobs += len(batch)
        old = [blob for blob in batch if blob.modified < self._young]
        for blob in await self._without_row(old):
            # Asked once more, alone: a repair deletes nothing that has got a row meanwhile.
            if self._repairs and await self._without_row([blob]):
                await self._blobs.delete(blob.key)
            self._tell(FileProblem("orphan", blob.key, words=f"{blob.size} bytes", repaired=self._repairs))

    async def _without_row(self, blobs: Sequence[ListedBlob]) -> list[ListedBlob]:
        keys = [blob.key for blob in blobs]
        if not keys:
            return []
        async with self._database.read() as connection:
            known = set(await elements.by_object_key(connection, keys))
            queued = select(blob_deletions.c.objectKey).where(blob_deletions.c.objectKey.in_(keys))
            known.update((await connection.execute(queued)).scalars())
        return [blob for blob in blobs if blob.key not in known]

    def _tell(self, problem: FileProblem) -> None:
        self._report.problems[problem.kind] += 1
        self._report.repaired[problem.kind] += problem.repaired
        self._found(problem)
