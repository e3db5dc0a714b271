"""Restores a backup into an empty place, and checks each file on its way.

The database comes last, so that an interrupted restoration leaves no database whose files are missing, and can be
repeated. On Postgres, `pg_restore` restores the database first; then only the files that its rows name are restored.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from datalayer.backup.backup import AT_ONCE, BYTES
from datalayer.backup.manifest import (
    FILES,
    POSTGRES_DUMP,
    SQLITE_COPY,
    BackupFile,
    BackupHeader,
    check_lines,
    logs_of,
    measure,
    read_files,
    read_header,
    sync_folder,
)
from datalayer.backup.restored_dump import check_restored
from datalayer.blobs import BlobStore, LocalBlobs
from datalayer.blobs.copying import copy as copy_file
from datalayer.blobs.copying import sha256_of, size_of
from datalayer.cleaning import utc_now
from datalayer.concurrency import for_each
from datalayer.database import Database
from datalayer.errors import BackupError, BlobError, BlobNotFound
from datalayer.files import sources
from datalayer.history import elements, file_outbox
from datalayer.migrations import is_new, pending_migrations

_PAGE = 200


@dataclass(slots=True)
class RestoreReport:
    """What a restoration did. Sizes are in bytes."""

    restored: int = 0
    restored_bytes: int = 0
    there: int = 0
    """Files that an interrupted restoration had restored."""
    failed: int = 0
    marked: int = 0
    """Rows of files that were deleted while the backup was made. They are marked as by `files verify --repair`."""
    sources_without_file: int = 0
    """Restored data sources whose file is not in the backup."""
    is_finished: bool = False
    """False if a file failed, or if the database is still to be restored from the dump."""


class Restoration:
    """One restoration of the backup in a folder."""

    def __init__(
        self,
        folder: Path,
        url: str,
        store: BlobStore,
        database_file: Path | None,
        *,
        failed: Callable[[str, str], None] = lambda _key, _words: None,
        progressed: Callable[[RestoreReport], None] = lambda _report: None,
    ) -> None:
        """Nothing happens yet.

        Args:
            folder: with a finished backup.
            url: of the database to restore into.
            database_file: the file of this database, if it is one.
            failed: called with the key of each file that could not be restored or that a data source lacks, and the
                reason.
            progressed: called after each file.
        """
        self._folder, self._url, self._store, self._file = folder, url, store, database_file
        self._copies = LocalBlobs(folder / FILES)
        self._failed, self._progressed = failed, progressed
        self._report = RestoreReport()

    async def run(self) -> RestoreReport:
        """Restore the files, and then the database.

        Raises:
            BackupError: the folder is not a finished backup or is damaged, or the place is not empty.
            SchemaError: the backup is of a newer version.
            StorageUnavailable: the database cannot be used.
            BlobError: the store cannot be listed.
        """
        try:
            header = await asyncio.to_thread(read_header, self._folder)
            database = Database(self._url)
            try:
                if header.engine != database.dialect.name:
                    raise BackupError(
                        f"the backup is of {header.engine}, and DATABASE_URL is of {database.dialect.name}"
                    )
                await asyncio.to_thread(check_lines, self._folder, header)
                await self._check_store()
                if self._file is not None:
                    await self._with_file(header, self._file)
                elif await is_new(database):
                    await asyncio.to_thread(_check_copy, header, self._folder / POSTGRES_DUMP)
                else:
                    await self._beside_dump(header, database)
            finally:
                await database.close()
        except OSError as error:
            raise BackupError(
                f"the backup cannot be restored ({error.strerror}: {error.filename or self._folder})"
            ) from error
        return self._report

    async def _with_file(self, header: BackupHeader, target: Path) -> None:
        # SQLite would apply a log or journal of an earlier database to the restored one.
        for path in (target, *logs_of(target)):
            if await asyncio.to_thread(path.exists):
                raise BackupError(f"the database file {path} exists; a backup is restored into an empty place only")
        copy = self._folder / SQLITE_COPY
        await asyncio.to_thread(_check_copy, header, copy)
        part = target.with_name(f"{target.name}.part")
        await asyncio.to_thread(_copy_private, copy, part)
        restored = Database(f"sqlite:///{part}")
        try:
            # Refuses the database of a newer version before anything else is restored.
            await pending_migrations(restored)
        except BaseException:
            part.unlink()
            await restored.close()
            raise
        try:
            await for_each(self._files(), self._restore, concurrency=AT_ONCE)
            if not self._report.failed:
                await self._report_sources(restored)
        finally:
            await restored.close()
        if not self._report.failed:
            await asyncio.to_thread(part.replace, target)
            await asyncio.to_thread(sync_folder, target.parent)
            self._report.is_finished = True

    async def _beside_dump(self, header: BackupHeader, database: Database) -> None:
        await pending_migrations(database)
        async with aclosing(self._files_in_use(database)) as files:
            has_file = await anext(files, None) is not None
        await database.query(partial(check_restored, header=header, has_file_of_backup=has_file))
        await for_each(self._files_in_use(database), self._restore, concurrency=AT_ONCE)
        if not self._report.failed:
            await self._mark_missing(database)
            await self._report_sources(database)
            self._report.is_finished = True

    async def _check_store(self) -> None:
        async for blob in self._store.list():
            if await size_of(self._copies, blob.key) != blob.size:
                raise BackupError(
                    f"BLOB_URL has a file that is not of this backup ({blob.key}); a backup is restored into an empty "
                    "place only"
                )

    async def _files(self) -> AsyncIterator[BackupFile]:
        files = read_files(self._folder)
        while some := await asyncio.to_thread(lambda: [*islice(files, _PAGE)]):
            for file in some:
                yield file

    async def _files_in_use(self, database: Database) -> AsyncGenerator[BackupFile]:
        files = read_files(self._folder)
        while some := await asyncio.to_thread(lambda: [*islice(files, _PAGE)]):
            keys = [file.key for file in some]
            known = await database.query(partial(file_outbox.in_use, object_keys=keys))
            for file in some:
                if file.key in known:
                    yield file

    async def _restore(self, file: BackupFile) -> None:
        try:
            if await self._is_there(file):
                self._report.there += 1
            else:
                stored = await copy_file(self._copies, self._store, file.key, file.mime or BYTES, file.name)
                if (stored.size, stored.sha256) != (file.size, file.sha256):
                    await self._store.delete(file.key)
                    raise BlobError("the copy in the backup is damaged: it differs from the manifest")
                self._report.restored += 1
                self._report.restored_bytes += stored.size
        except BlobNotFound:
            self._report.failed += 1
            self._failed(file.key, "the backup lacks the file, which its manifest lists")
        except BlobError as error:
            self._report.failed += 1
            self._failed(file.key, str(error))
        self._progressed(self._report)

    async def _is_there(self, file: BackupFile) -> bool:
        if await size_of(self._store, file.key) != file.size:
            return False
        return await sha256_of(self._store, file.key) == file.sha256

    async def _mark_missing(self, database: Database) -> None:
        after: str | None = None
        find = partial(elements.unmarked_files, dialect=database.dialect, limit=_PAGE)
        while page := await database.query(partial(find, after=after)):
            for element_id, key in page:
                if await size_of(self._copies, key) is None:
                    async with database.write() as connection:
                        await elements.mark_file(connection, database.dialect, element_id, key, utc_now())
                    self._report.marked += 1
            after = page[-1][0]

    async def _report_sources(self, database: Database) -> None:
        """Unlike an element, a data source has no mark for a missing file."""
        after: str | None = None
        while page := await database.query(partial(sources.titles_with_files, after=after, limit=_PAGE)):
            for _id, key, title in page:
                if await size_of(self._copies, key) is None:
                    self._report.sources_without_file += 1
                    self._failed(key, f"the backup lacks the file of the data source {title}")
            after = page[-1][0]


def _check_copy(header: BackupHeader, copy: Path) -> None:
    if not copy.is_file() or measure(copy) != (header.database_bytes, header.database_sha256):
        raise BackupError(f"the copy of the database, {copy}, is damaged; nothing was restored")


def _copy_private(source: Path, target: Path) -> None:
    """Copy a file, so that only its owner can read it, and sync it to the disk."""
    for path in (target, *logs_of(target)):
        path.unlink(missing_ok=True)
    with (
        source.open("rb") as read,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as written,
    ):
        shutil.copyfileobj(read, written, 1024 * 1024)
        written.flush()
        os.fsync(written.fileno())
