"""Makes a backup while the database and the files are being written to.

A file is stored before its row and deleted after it. So the files of all rows are copied first, then the database, and
then the files that the rows of this copy name and that were stored meanwhile. If one of those was deleted meanwhile,
the database is copied again, until each file that a row of the copy names is in the backup or is missing in the store
as well. On Postgres, `pg_dump` makes the copy of the database between two runs of the backup.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO, TypeVar

from datalayer.backup.manifest import (
    FILES,
    MANIFEST,
    POSTGRES_DUMP,
    SQLITE_COPY,
    UNFINISHED,
    BackupFile,
    BackupHeader,
    is_postgres_dump,
    line_of,
    logs_of,
    measure,
    new_lines,
    write_manifest,
)
from datalayer.blobs import BlobStore, LocalBlobs
from datalayer.blobs.copying import copy as copy_file
from datalayer.blobs.copying import size_of
from datalayer.cleaning import utc_now
from datalayer.concurrency import for_each
from datalayer.database import Database
from datalayer.errors import BackupError, BlobError, BlobNotFound, StorageUnavailable
from datalayer.files import sources
from datalayer.history import elements, file_outbox
from datalayer.history.elements import MISSING_SINCE
from datalayer.records.chat import Element
from datalayer.records.knowledge import DataSource

AT_ONCE = 4
_COPIES = 10
_PAGE = 200
BYTES = "application/octet-stream"

Row = TypeVar("Row", Element, DataSource)


@dataclass(slots=True)
class BackupReport:
    """What a run did. Sizes are in bytes."""

    copied: int = 0
    copied_bytes: int = 0
    failed: int = 0
    files: int = 0
    bytes: int = 0
    missing: int = 0
    """Files that rows name and the store does not have, without those that `files verify --repair` has marked."""
    known_missing: int = 0
    damaged: int = 0
    """Files whose content differs from their row in the store already."""
    is_finished: bool = False
    """False if a file failed, or if the dump of the database is still to be made."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file that a row names. Size and SHA-256 are None if the row has none."""

    key: str
    size: int | None
    sha256: str | None
    mime: str | None = None
    name: str | None = None
    is_known_missing: bool = False


class Backup:
    """One run of a backup of a database and its files into a folder."""

    def __init__(
        self,
        url: str,
        store: BlobStore,
        folder: Path,
        *,
        found: Callable[[str, str], None] = lambda _key, _words: None,
        progressed: Callable[[BackupReport], None] = lambda _report: None,
    ) -> None:
        """Nothing happens yet.

        Args:
            url: of the database.
            found: called with the key of each file that is missing or damaged or could not be copied, and the reason.
            progressed: called after each file.
        """
        self._url, self._store, self._folder = url, store, folder
        self._copies = LocalBlobs(folder / FILES)
        self._found, self._progressed = found, progressed
        self._report = BackupReport()
        self._begun_at = utc_now()
        self._gone = False

    async def run(self) -> BackupReport:
        """Copy what the folder lacks. The copies of an interrupted backup are read and kept.

        Raises:
            BackupError: the folder holds a finished backup or something else, or cannot be written.
            StorageUnavailable: the database cannot be read.
            BlobError: the folder's files cannot be listed or deleted.
        """
        database = Database(self._url)
        try:
            await asyncio.to_thread(self._prepare)
            if database.dialect.copy_database is not None:
                await self._with_copies(database, database.dialect.copy_database)
            else:
                await self._beside_dump(database)
        except OSError as error:
            raise BackupError(f"the backup cannot be written to {self._folder} ({error.strerror})") from error
        finally:
            await database.close()
        return self._report

    def _prepare(self) -> None:
        if (self._folder / MANIFEST).exists():
            raise BackupError(f"{self._folder} holds a finished backup; name another folder")
        if isinstance(self._store, LocalBlobs) and self._folder.resolve().is_relative_to(self._store.folder.resolve()):
            # There, its files would be files without a row, which `files verify --repair` deletes.
            raise BackupError(f"{self._folder} is in the folder of the file store; name a folder elsewhere")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = {path.name for path in self._folder.iterdir()}
        if found and UNFINISHED not in found:
            raise BackupError(f"{self._folder} is not empty, and holds no backup; name another folder")
        (self._folder / UNFINISHED).touch(mode=0o600)

    async def _with_copies(self, database: Database, copy_database: Callable[[str, Path], None]) -> None:
        await self._copy_all(database)
        copy = self._folder / SQLITE_COPY
        for _ in range(_COPIES):
            if self._report.failed:
                return
            await asyncio.to_thread(_remove, copy)
            with database.translated():
                await asyncio.to_thread(copy_database, self._url, copy)
            copied = Database(f"sqlite:///{copy}")
            try:
                await self._list(database, copied)
                if not self._gone:
                    await self._remove_files_without_row(copied)
            finally:
                await copied.close()
            if not self._gone:
                await self._finish(database, copy)
                return
        raise StorageUnavailable(
            f"the backup is not finished: {_COPIES} times, files were deleted just after the database was copied; "
            "run `threadkeeper backup` again"
        )

    async def _beside_dump(self, database: Database) -> None:
        dump = self._folder / POSTGRES_DUMP
        if not dump.exists():
            # No dump names the files without a row.
            await self._remove_files_without_row(database)
            await self._copy_all(database)
            return
        if not await asyncio.to_thread(is_postgres_dump, dump):
            raise BackupError(f"{dump} is not a dump of Postgres; delete it, and run `threadkeeper backup` again")
        await self._list(database, database)
        if not self._report.failed:
            await self._finish(database, dump)

    async def _copy_all(self, database: Database) -> None:
        async def work(wanted: _Wanted) -> None:
            await self._copy(database, wanted)

        await for_each(_wanted(database), work, concurrency=AT_ONCE)
        # The files of the copy are what counts.
        self._report.missing = self._report.known_missing = 0

    async def _list(self, database: Database, copied: Database) -> None:
        """Write the lines of the manifest: for the files of the copy's rows, and on Postgres for all in the folder."""
        self._gone = False
        report = self._report
        report.files = report.bytes = report.missing = report.known_missing = report.damaged = 0
        with new_lines(self._folder) as lines:

            async def work(wanted: _Wanted) -> None:
                if await self._copy(database, wanted):
                    await self._describe(lines, wanted)

            await for_each(_wanted(copied), work, concurrency=AT_ONCE)
            if copied is database:
                # Deleted meanwhile, but the dump may be older.
                async for key in self._without_row(database):
                    await self._describe(lines, _Wanted(key, None, None))

    async def _copy(self, database: Database, wanted: _Wanted) -> bool:
        """Copy a file that the folder lacks; whether it is there then."""
        try:
            there = await size_of(self._copies, wanted.key)
            if there is None or there != (there if wanted.size is None else wanted.size):
                stored = await copy_file(self._store, self._copies, wanted.key, BYTES, None)
                self._report.copied += 1
                self._report.copied_bytes += stored.size
        except BlobNotFound:
            await self._is_missing(database, wanted)
            return False
        except BlobError as error:
            self._report.failed += 1
            self._found(wanted.key, str(error))
            return False
        finally:
            self._progressed(self._report)
        return True

    async def _is_missing(self, database: Database, wanted: _Wanted) -> None:
        if wanted.is_known_missing:
            self._report.known_missing += 1
        elif await database.query(partial(file_outbox.in_use, object_keys=[wanted.key])):
            self._report.missing += 1
            self._found(wanted.key, "the file is missing in the store")
        else:
            self._gone = True

    async def _describe(self, lines: TextIO, wanted: _Wanted) -> None:
        path = self._folder / FILES / wanted.key
        size, sha256 = await asyncio.to_thread(measure, path)
        if wanted.sha256 not in (None, sha256) or wanted.size not in (None, size):
            # The copy, or the file itself.
            with suppress(BlobNotFound):
                await copy_file(self._store, self._copies, wanted.key, BYTES, None)
            size, sha256 = await asyncio.to_thread(measure, path)
            if wanted.sha256 not in (None, sha256) or wanted.size not in (None, size):
                self._report.damaged += 1
                self._found(wanted.key, "the file in the store differs from its row; it is copied as it is")
        lines.write(line_of(BackupFile(wanted.key, size, sha256, wanted.mime, wanted.name)))
        self._report.files += 1
        self._report.bytes += size

    async def _remove_files_without_row(self, database: Database) -> None:
        async for upload in self._copies.unfinished():
            await self._copies.discard(upload)
        async for key in self._without_row(database):
            await self._copies.delete(key)

    async def _without_row(self, database: Database) -> AsyncIterator[str]:
        batch: list[str] = []
        async for blob in self._copies.list():
            batch.append(blob.key)
            if len(batch) == _PAGE:
                for key in await _not_in_use(database, batch):
                    yield key
                batch = []
        for key in await _not_in_use(database, batch):
            yield key

    async def _finish(self, database: Database, copy: Path) -> None:
        size, sha256 = await asyncio.to_thread(measure, copy)
        header = BackupHeader(
            engine=database.dialect.name,
            database=copy.name,
            database_bytes=size,
            database_sha256=sha256,
            begun_at=self._begun_at,
            finished_at=utc_now(),
            files=self._report.files,
            bytes=self._report.bytes,
            missing=self._report.missing + self._report.known_missing,
        )
        await asyncio.to_thread(write_manifest, self._folder, header)
        self._report.is_finished = True


async def _wanted(database: Database) -> AsyncIterator[_Wanted]:
    """The files that the rows of elements and of data sources name."""
    async for element in _paged(database, elements.with_files):
        is_known_missing = (element.extra or {}).get(MISSING_SINCE) is not None
        key, size, sha256 = str(element.object_key), element.byte_size, element.sha256
        yield _Wanted(key, size, sha256, element.mime, element.name, is_known_missing)
    async for source in _paged(database, sources.with_files):
        yield _Wanted(str(source.object_key), source.byte_size, source.sha256)


async def _paged(database: Database, read: Callable[..., Awaitable[list[Row]]]) -> AsyncIterator[Row]:
    after: str | None = None
    while True:
        page = await database.query(partial(read, after=after, limit=_PAGE))
        for row in page:
            yield row
        if len(page) < _PAGE:
            return
        after = page[-1].id


async def _not_in_use(database: Database, keys: list[str]) -> list[str]:
    if not keys:
        return []
    known = await database.query(partial(file_outbox.in_use, object_keys=keys))
    return [key for key in keys if key not in known]


def _remove(copy: Path) -> None:
    for path in (copy, *logs_of(copy)):
        path.unlink(missing_ok=True)
