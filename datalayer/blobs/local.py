"""A folder as blob store. A file is written under a temporary name and then renamed, so that it is never partial."""

import asyncio
import errno
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from datalayer.blobs.base import (
    BlobStore,
    Content,
    ListedBlob,
    OpenBlob,
    StoredBlob,
    UnfinishedUpload,
    checked_key,
    checked_prefix,
    checked_range,
    is_key,
    range_within,
)
from datalayer.blobs.content import MEBIBYTE, MeasuredContent
from datalayer.errors import BlobError, BlobNotFound, BlobRefused

T = TypeVar("T")

_CHUNK_BYTES = MEBIBYTE
_PART = ".part-"
_LISTED_AT_ONCE = 1000
_ATTEMPTS = 20


class LocalBlobs(BlobStore):
    """Files in one folder, which is created at the first write. It stores no content types and has no signed URLs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def put(
        self,
        key: str,
        content: Content,
        mime: str,  # noqa: ARG002  a folder stores no content types
        *,
        name: str | None = None,  # noqa: ARG002  a folder stores no file names
    ) -> StoredBlob:
        target = self._path(key)
        async with MeasuredContent(content, _CHUNK_BYTES) as chunks:
            part = await _in_thread(partial(_begin, target))
            try:
                while chunk := await chunks.read():
                    await _in_thread(partial(part.write, chunk))
                await _in_thread(partial(self._finish, part, target))
            except BaseException:
                await _in_thread(partial(self._discard, part))
                raise
            return chunks.stored_as(key)

    async def open(self, key: str, start: int = 0, end: int | None = None) -> OpenBlob:
        checked_range(start, end)
        path = self._path(key)
        file, size = await _in_thread(partial(_open, path))
        start, end = range_within(size, start, end)
        return OpenBlob(size, start, end, _chunks(file, start, end), file.close)

    async def delete(self, key: str) -> None:
        path = self._path(key)
        await _in_thread(partial(self._remove, path))

    async def list(self, prefix: str = "") -> AsyncIterator[ListedBlob]:
        found = self._walk(self.folder / checked_prefix(prefix))
        while some := await _in_thread(lambda: [*islice(found, _LISTED_AT_ONCE)]):
            for blob in some:
                yield blob

    async def unfinished(self) -> AsyncIterator[UnfinishedUpload]:
        found = self._walk_parts()
        while some := await _in_thread(lambda: [*islice(found, _LISTED_AT_ONCE)]):
            for upload in some:
                yield upload

    async def discard(self, upload: UnfinishedUpload) -> None:
        await _in_thread(partial(self._remove, self.folder / upload.name))

    async def signed_url(self, key: str, seconds: int) -> str | None:  # noqa: ARG002  a folder has no signed URLs
        checked_key(key)
        return None

    async def ping(self) -> None:
        await _in_thread(self._touch)

    async def close(self) -> None:
        """Do nothing: a folder has no connections."""

    def _path(self, key: str) -> Path:
        return self.folder / checked_key(key)

    def _finish(self, part: BinaryIO, target: Path) -> None:
        part.flush()
        os.fsync(part.fileno())
        part.close()
        Path(part.name).replace(target)
        # The directory entries must survive a power failure too, including those of new folders.
        for folder in target.parents:
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if folder == self.folder:
                break

    def _discard(self, part: BinaryIO) -> None:
        # Closing flushes the file, which fails if the disk is full.
        with suppress(OSError):
            part.close()
        self._remove(Path(part.name))

    def _remove(self, path: Path) -> None:
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            path.unlink()
        # The last file of a thread is deleted with the thread's folder.
        for folder in path.parents:
            if folder == self.folder:
                break
            with suppress(OSError):
                folder.rmdir()

    def _walk(self, folder: Path) -> Iterator[ListedBlob]:
        for path in _files(folder):
            key = path.relative_to(self.folder).as_posix()
            # The file may have been deleted in the meantime.
            with suppress(FileNotFoundError):
                if is_key(key):
                    found = path.stat()
                    yield ListedBlob(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def _walk_parts(self) -> Iterator[UnfinishedUpload]:
        for path in _files(self.folder):
            with suppress(FileNotFoundError):
                if path.name.startswith(_PART):
                    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                    yield UnfinishedUpload(path.relative_to(self.folder).as_posix(), modified)

    def _touch(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".ping-"):
            return


def _begin(target: Path) -> BinaryIO:
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            return tempfile.NamedTemporaryFile(dir=target.parent, prefix=_PART, delete=False)  # type: ignore[return-value]
        except (FileNotFoundError, FileExistsError):
            # A concurrent deletion of the last file in the folder may have removed the folder.
            if not attempts_left:
                raise
    raise AssertionError


def _open(path: Path) -> tuple[FileIO, int]:
    try:
        file = path.open("rb", 0)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise BlobNotFound("the folder has no file under this key") from None
    return file, os.fstat(file.fileno()).st_size


async def _chunks(file: FileIO, start: int, end: int) -> AsyncIterator[bytes]:
    await _in_thread(partial(file.seek, start))
    left = end - start
    while left and (chunk := await _in_thread(partial(file.read, min(left, _CHUNK_BYTES)))):
        left -= len(chunk)
        yield chunk
    if left:
        raise BlobError("the file became shorter while it was read")


def _files(folder: Path) -> Iterator[Path]:
    """The files, one at a time; `os.walk` would keep the names of all threads in memory."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            elif not entry.is_dir():
                yield Path(entry.path)


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        error_type = BlobRefused if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else BlobError
        raise error_type(
            f"the folder for files cannot be used now ({type(error).__name__}: {error.strerror})"
        ) from error
