"""Where the bytes of elements are: one protocol, one implementation for each kind of store."""

import re
from pathlib import Path
from typing import Protocol

from datalayer.errors import BlobError

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class BlobStore(Protocol):
    """Files under keys such as `<thread>/<element>`. A key's parts hold letters, digits, `.`, `_` and `-`."""

    async def put(self, key: str, content: bytes | Path, mime: str) -> None:
        """Store the content, or the file at a path, whole or not at all; what was under the key is replaced.

        Raises:
            BlobError: it could not be stored.
        """

    async def read(self, key: str) -> bytes:
        """The content.

        Raises:
            BlobNotFound: there is none under this key.
            BlobError: it could not be read.
        """

    async def delete(self, key: str) -> None:
        """Remove the content; nothing happens where there is none.

        Raises:
            BlobError: it could not be removed.
        """

    async def ping(self) -> None:
        """Show that the store can be reached and written to.

        Raises:
            BlobError: it cannot.
        """

    async def close(self) -> None:
        """Let go of connections."""


def checked_key(key: str) -> str:
    """The key, if it is one that leads nowhere but into the store.

    Raises:
        BlobError: it is not.
    """
    if not _KEY.fullmatch(key):
        raise BlobError("a blob key may hold letters, digits, '.', '_' and '-' only, in parts divided by '/'")
    return key
