"""Content to store: cut into chunks of one size, counted and hashed while it is read."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterable
from pathlib import Path
from types import TracebackType
from typing import Self

from datalayer.blobs.base import Content, StoredBlob
from datalayer.errors import BlobError

MEBIBYTE = 1024 * 1024


class MeasuredContent:
    """Reads content once, in chunks of `chunk_bytes`; the last one is shorter or empty."""

    def __init__(self, content: Content, chunk_bytes: int) -> None:
        self.size = 0
        self._hash = hashlib.sha256()
        self._chunks = _chunks(content, chunk_bytes)

    async def read(self) -> bytes:
        """The next chunk; empty at the end, and from then on.

        Raises:
            BlobError: the file that holds the content cannot be read.
        """
        chunk = await anext(self._chunks, b"")
        if chunk:
            await asyncio.to_thread(self._hash.update, chunk)
            self.size += len(chunk)
        return chunk

    def stored_as(self, key: str) -> StoredBlob:
        """The description of the content after all of it was stored."""
        return StoredBlob(key, self.size, self._hash.hexdigest())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._chunks.aclose()


def _chunks(content: Content, chunk_bytes: int) -> AsyncGenerator[bytes, None]:
    if isinstance(content, bytes):
        return _of_bytes(content, chunk_bytes)
    if isinstance(content, Path):
        return _of_file(content, chunk_bytes)
    return _of_pieces(content, chunk_bytes)


async def _of_bytes(content: bytes, chunk_bytes: int) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(content), chunk_bytes):
        yield content[start : start + chunk_bytes]


async def _of_file(path: Path, chunk_bytes: int) -> AsyncGenerator[bytes, None]:
    try:
        # Unbuffered: the chunks are larger than any buffer.
        with await asyncio.to_thread(path.open, "rb", 0) as file:
            while chunk := await asyncio.to_thread(file.read, chunk_bytes):
                yield chunk
    except OSError as error:
        # The message leaves out the path, because users see it.
        raise BlobError(f"the file to be stored cannot be read ({type(error).__name__}: {error.strerror})") from None


async def _of_pieces(pieces: AsyncIterable[bytes], chunk_bytes: int) -> AsyncGenerator[bytes, None]:
    gathered = bytearray()
    async for piece in pieces:
        gathered += piece
        while len(gathered) >= chunk_bytes:
            chunk = bytes(gathered[:chunk_bytes])
            del gathered[:chunk_bytes]
            yield chunk
    if gathered:
        yield bytes(gathered)
