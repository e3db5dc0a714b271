"""A folder as blob store. A file is there whole or not at all: it is written beside its place, then renamed."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from datalayer.blobs.base import checked_key
from datalayer.errors import BlobError, BlobNotFound

T = TypeVar("T")


class LocalBlobs:
    """Files under one folder, which is made at the first write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def put(self, key: str, content: bytes | Path, mime: str) -> None:  # noqa: ARG002  a folder keeps no types
        target = self._path(key)
        await _in_thread(lambda: _write(target, content))

    async def read(self, key: str) -> bytes:
        return await _in_thread(lambda: _read(self._path(key)))

    async def delete(self, key: str) -> None:
        await _in_thread(lambda: self._remove(self._path(key)))

    async def ping(self) -> None:
        await _in_thread(self._touch)

    async def close(self) -> None:
        """A folder needs no closing."""

    def _path(self, key: str) -> Path:
        return self.folder / checked_key(key)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        # The folder of a thread goes with its last file.
        if path.parent != self.folder and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def _touch(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".ping-"):
            return


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BlobNotFound("the folder has no file under this key") from None


def _write(target: Path, content: bytes | Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    try:
        with os.fdopen(descriptor, "wb") as part:
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, part)
            else:
                part.write(content)
            part.flush()
            os.fsync(part.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise BlobError(f"the folder of files cannot be used now ({type(error).__name__}: {error.strerror})") from error
