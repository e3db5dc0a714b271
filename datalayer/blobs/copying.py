"""What moves, backups and checks do with the files of a store: their size and checksum, and a copy to another store."""

import asyncio
import hashlib

from datalayer.blobs.base import BlobStore, StoredBlob
from datalayer.errors import BlobError, BlobNotFound

_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5


async def size_of(store: BlobStore, key: str) -> int | None:
    """The size of a file in bytes; None if the store does not have it.

    Raises:
        BlobError: the store cannot be read.
    """
    try:
        async with await store.open(key, 0, 0) as blob:
            return blob.size
    except BlobNotFound:
        return None


async def sha256_of(store: BlobStore, key: str) -> str:
    """The checksum of a file, in hexadecimal digits.

    Raises:
        BlobNotFound: the store does not have it.
        BlobError: it cannot be read.
    """
    digest = hashlib.sha256()
    async with await store.open(key) as blob:
        async for chunk in blob:
            await asyncio.to_thread(digest.update, chunk)
    return digest.hexdigest()


async def copy(source: BlobStore, target: BlobStore, key: str, mime: str, name: str | None) -> StoredBlob:
    """Copy one file from a store to another, in three attempts.

    Raises:
        BlobNotFound: the source does not have it.
        BlobError: it could not be copied.
    """
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            async with await source.open(key) as content:
                return await target.put(key, content, mime, name=name)
        except BlobNotFound:
            raise
        except BlobError:
            if not attempts_left:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
    raise AssertionError
