"""Compares the rows of elements and of data sources with the files in the blob store, in both directions.

Rows are read in pages and the store's listing in batches, and each problem is reported at once and not kept, so that
memory does not depend on the number of files. An upload stores the file before its row, and a deletion removes the row
before the file. So young files and files that are queued for deletion are not problems and are not changed. No repair
deletes a row.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal, TypeVar

from sqlalchemy import select

from datalayer.blobs import BlobStore, ListedBlob
from datalayer.blobs.base import is_plain_key
from datalayer.blobs.text_keys import record_of
from datalayer.cleaning import utc_now
from datalayer.concurrency import for_each
from datalayer.database import Database
from datalayer.errors import BlobError, BlobNotFound
from datalayer.files import sources
from datalayer.history import elements, file_outbox
from datalayer.history.elements import MISSING_SINCE
from datalayer.records.chat import Element
from datalayer.records.knowledge import DataSource
from datalayer.schema.chat import blob_deletions

GRACE_SECONDS = 3600.0
AT_ONCE = 8
_PAGE = 200

Row = TypeVar("Row", Element, DataSource)

Problem = Literal["missing", "size", "checksum", "unreadable", "orphan", "unfinished"]


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A problem with the file under this key.

    `missing`: a row's file does not exist. `size`, `checksum`: the file differs from its row. `unreadable`: the store
    cannot read the file. `orphan`: no row refers to the file. `unfinished`: an interrupted upload.
    """

    kind: Problem
    key: str
    thread_id: str | None = None
    element_id: str | None = None
    source: str | None = None
    """The data source whose file it is: its title and its assistant."""
    words: str = ""
    repaired: bool = False
    marked: bool = False
    """The row of a `missing` file was marked by this repair; the next checks count it as `known_missing`."""


@dataclass(slots=True)
class FileReport:
    """The numbers of a check. Sizes are in bytes."""

    rows: int = 0
    blobs: int = 0
    read_bytes: int = 0
    problems: Counter[Problem] = field(default_factory=Counter)
    repaired: Counter[Problem] = field(default_factory=Counter)
    marked: int = 0
    """Rows that this repair marked because their file is missing."""
    known_missing: int = 0
    """Files that are missing, and were marked by an earlier repair."""
    found_again: int = 0
    without_checksum: int = 0
    checksums_added: int = 0
    uploads_unknown: str = ""
    """Why interrupted uploads could not be listed."""

    @property
    def left(self) -> int:
        """The number of problems that were not repaired."""
        return self.problems.total() - self.repaired.total()


class FileCheck:
    """One check of all files of a database and a store."""

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
            repair: delete files without a row and interrupted uploads; mark rows whose file is missing, under
                `fileMissingSince` in `extra`, and take the mark away where the file is back; keep checksums of files
                whose rows have none.
            quick: compare sizes alone, and read no file.
            grace_seconds: how old a file without a row or an upload must be to count as a problem.
            found: called with each problem.
            progressed: called after each file.
        """
        self._database, self._blobs = database, blobs
        self._repairs, self._quick = repair, quick
        self._young = datetime.now(UTC) - timedelta(seconds=grace_seconds)
        self._found, self._progressed = found, progressed
        self._report = FileReport()

    async def run(self) -> FileReport:
        """Check every row, then every file, then the uploads in progress.

        Raises:
            BlobError: the store cannot be listed.
            StorageUnavailable: the database cannot be used.
        """
        await for_each(self._paged(elements.with_files), self._check_row, concurrency=AT_ONCE)
        await for_each(self._paged(sources.with_files), self._check_source, concurrency=AT_ONCE)
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
            # Only this check needs the permission to list uploads. Without it the rest of the report is valid.
            self._report.uploads_unknown = str(error)
        return self._report

    async def _check_uploads(self) -> None:
        async for upload in self._blobs.unfinished():
            if upload.modified < self._young:
                if self._repairs:
                    await self._blobs.discard(upload)
                self._report_problem(FileProblem("unfinished", upload.name, repaired=self._repairs))

    async def _paged(self, read: Callable[..., Awaitable[list[Row]]]) -> AsyncIterator[Row]:
        """The rows that `read` gives in pages: elements or data sources with files."""
        after: str | None = None
        while True:
            page = await self._database.query(partial(read, after=after, limit=_PAGE))
            for row in page:
                yield row
            if len(page) < _PAGE:
                return
            after = page[-1].id

    async def _check_row(self, element: Element) -> None:
        self._report.rows += 1
        while (problem := await self._problem_of(element)) is not None:
            newest = await self._database.query(lambda connection: elements.get(connection, element.id))  # noqa: B023
            if newest is None or newest.object_key is None:
                # Deleted during the check.
                break
            if (newest.object_key, newest.byte_size, newest.sha256) != (
                element.object_key,
                element.byte_size,
                element.sha256,
            ):
                # Replaced during the check.
                element = newest
                continue
            if problem.kind == "missing":
                await self._missing(newest, problem)
            else:
                self._report_problem(problem)
            break
        self._progressed(self._report)

    async def _problem_of(self, element: Element) -> FileProblem | None:
        as_it_is = FileProblem("missing", str(element.object_key), element.thread_id, element.id)
        try:
            size, sha256 = await self._measure(as_it_is.key)
        except BlobNotFound:
            return as_it_is
        except BlobError as error:
            return replace(as_it_is, kind="unreadable", words=str(error))
        if (element.extra or {}).get(MISSING_SINCE) is not None:
            self._report.found_again += 1
            if self._repairs:
                async with self._database.write() as connection:
                    await elements.mark_file(
                        connection, self._database.dialect, element.id, str(element.object_key), None
                    )
        if element.sha256 is None and element.byte_size in (None, size):
            await self._describe(element, size, sha256)
            return None
        return _difference(as_it_is, element, size, sha256)

    async def _check_source(self, source: DataSource) -> None:
        """A file that is missing is not marked: the next training says so."""
        self._report.rows += 1
        of_source = f"{source.title} of the assistant {source.assistant_id}"
        as_it_is = FileProblem("missing", str(source.object_key), source=of_source)
        problem: FileProblem | None = as_it_is
        try:
            problem = _difference(as_it_is, source, *await self._measure(as_it_is.key))
        except BlobNotFound:
            pass
        except BlobError as error:
            problem = replace(as_it_is, kind="unreadable", words=str(error))
        if problem is not None:
            # Not if it was replaced or deleted during the check: a new file has another key.
            is_there = await self._database.query(lambda connection: sources.has_file(connection, source))
            if is_there:
                self._report_problem(problem)
        self._progressed(self._report)

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
                await elements.mark_file(
                    connection, self._database.dialect, element.id, str(element.object_key), utc_now()
                )
            self._report.marked += 1
            problem = replace(problem, marked=True)
        self._report_problem(problem)

    async def _check_blobs(self, batch: Sequence[ListedBlob]) -> None:
        self._report.blobs += len(batch)
        # A file with another key was stored by another program, which may use the same store. So may a table of
        # DynamoDB: its long texts have keys like ours, and no row.
        old = [
            blob
            for blob in batch
            if blob.modified < self._young and is_plain_key(blob.key) and record_of(blob.key) is None
        ]
        for blob in await self._without_row(old):
            # Checked again just before the deletion, because the file may have got a row in the meantime.
            if self._repairs and await self._without_row([blob]):
                await self._blobs.delete(blob.key)
            self._report_problem(FileProblem("orphan", blob.key, words=f"{blob.size} bytes", repaired=self._repairs))

    async def _without_row(self, blobs: Sequence[ListedBlob]) -> list[ListedBlob]:
        keys = [blob.key for blob in blobs]
        if not keys:
            return []
        async with self._database.read() as connection:
            known = await file_outbox.in_use(connection, keys)
            queued = select(blob_deletions.c.objectKey).where(blob_deletions.c.objectKey.in_(keys))
            known.update((await connection.execute(queued)).scalars())
        return [blob for blob in blobs if blob.key not in known]

    def _report_problem(self, problem: FileProblem) -> None:
        self._report.problems[problem.kind] += 1
        self._report.repaired[problem.kind] += problem.repaired
        self._found(problem)


def _difference(problem: FileProblem, row: Element | DataSource, size: int, sha256: str | None) -> FileProblem | None:
    """How a file differs from its row, as this problem; None if it does not. `sha256` is None if it was not read."""
    if row.byte_size is not None and row.byte_size != size:
        return replace(problem, kind="size", words=f"the file has {size} bytes, its row says {row.byte_size}")
    if None not in (sha256, row.sha256) and row.sha256 != sha256:
        words = f"the file's SHA-256 is {sha256}, its row says {row.sha256}"
        return replace(problem, kind="checksum", words=words)
    return None
