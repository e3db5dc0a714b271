"""Where the bytes of elements are: one protocol, one implementation for each kind of store.

A blob is there whole or not at all, under a key that its caller chose: to store it again is to replace it, so that a
retry never makes a second one. Contents go by in chunks and are never whole in memory, unless the caller asks for that.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from datalayer.errors import BlobError, BlobNotFound

Content: TypeAlias = bytes | Path | AsyncIterable[bytes]

# A signed URL of Amazon's or Azure's lives for a week at most.
LONGEST_SIGNED_SECONDS = 7 * 24 * 3600

_PART = r"[A-Za-z0-9_-](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_LONGEST_KEY = 512
_LONGEST_PART = 200


@dataclass(frozen=True, slots=True)
class BlobOptions:
    """How to reach a store of Azure's or S3's. What is not given is looked for where the cloud's own SDK looks.

    Azure: one of connection string, account key and SAS; without any, `DefaultAzureCredential` (managed identity,
    workload identity, environment variables, `az login`). `azure_endpoint` is the address of the account where it is
    not `https://ACCOUNT.dfs.core.windows.net` (or `.blob.`): a sovereign cloud's, a private one.

    S3: without key and secret, boto's own chain (environment, `~/.aws`, instance role). `s3_endpoint` is the address
    of a compatible server.
    """

    azure_connection_string: str | None = field(default=None, repr=False)
    azure_key: str | None = field(default=None, repr=False)
    azure_sas: str | None = field(default=None, repr=False)
    azure_endpoint: str | None = None
    s3_endpoint: str | None = None
    s3_region: str | None = None
    s3_access_key_id: str | None = None
    s3_secret_access_key: str | None = field(default=None, repr=False)
    s3_session_token: str | None = field(default=None, repr=False)
    patience_seconds: float = 30.0
    """How long one request of a chunk (5 MiB at most) may take, with all its retries."""
    ca_file: str | None = None
    """PEM file of the authorities that sign the endpoint's certificate, where the system does not know them."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """What was stored: its size in bytes and its SHA-256 in hexadecimal, both taken while it went by."""

    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ListedBlob:
    """What is in the store under this key: so many bytes, stored at this time (with its zone)."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """An upload that is under way, or that broke off: the store's own name of it, and when it was last seen to grow."""

    name: str
    modified: datetime


class OpenBlob:
    """The bytes from `start` to before `end` of a blob of `size` bytes, as an iterator of chunks that is used once.

    Iterated to its end it closes itself; where it may not come to that, use `async with`. Iterating raises BlobError
    where the store fails half-way.
    """

    def __init__(
        self,
        size: int,
        start: int,
        end: int,
        chunks: AsyncIterator[bytes] | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        """Without chunks there is nothing in the range; without `close` nothing stays open between two chunks."""
        self.size, self.start, self.end = size, start, end
        self._chunks = chunks
        self._close = close

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        async with self:
            if self._chunks is not None:
                async for chunk in self._chunks:
                    yield chunk

    async def close(self) -> None:
        """Let go of the connection or file; more than once does no harm."""
        if self._close is not None:
            self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class BlobStore(Protocol):
    """Files under keys such as `<thread>/<element>`. A key's parts hold letters, digits, `_`, `-` and inner dots."""

    async def put(self, key: str, content: Content, mime: str, *, name: str | None = None) -> StoredBlob:
        """Store the content, whole or not at all; what was under the key is replaced.

        Args:
            key: where; two uploads to one key at once leave one of the two contents.
            content: bytes, a file's path, or chunks of any size.
            mime: the content type that the store gives out with it; anything malformed becomes plain bytes.
            name: the file name that the store gives out with it, for a reader who follows a signed URL.

        Raises:
            BlobError: it could not be stored; nothing of it is to be seen under the key.
        """

    async def open(self, key: str, start: int = 0, end: int | None = None) -> OpenBlob:
        """The content, or the bytes from `start` to before `end`; what lies past the end of the blob is left out.

        Raises:
            BlobNotFound: there is none under this key.
            BlobError: it could not be read.
        """

    async def read(self, key: str) -> bytes:
        """The content, whole in memory.

        Raises:
            BlobNotFound: there is none under this key.
            BlobError: it could not be read.
        """
        async with await self.open(key) as blob:
            return b"".join([chunk async for chunk in blob])

    async def delete(self, key: str) -> None:
        """Remove the content; nothing happens where there is none.

        Raises:
            BlobError: it could not be removed.
        """

    def list(self, prefix: str = "") -> AsyncIterator[ListedBlob]:
        """Every blob, or those whose keys begin with the parts of `prefix`, in no order that can be relied on.

        Raises:
            BlobError: they could not be listed to the end.
        """

    def unfinished(self) -> AsyncIterator[UnfinishedUpload]:
        """Uploads under way and what broken ones left behind; nothing where the store clears that away by itself.

        Raises:
            BlobError: they could not be listed to the end.
        """

    async def discard(self, upload: UnfinishedUpload) -> None:
        """Drop one of the `unfinished`; nothing happens where it has ended meanwhile.

        Raises:
            BlobError: it could not be dropped.
        """

    async def signed_url(self, key: str, seconds: int) -> str | None:
        """A link that lets whoever has it read this blob, for so many seconds (a week at most).

        None where the store has no such links, or where its credentials cannot sign one. Whether there is a blob
        under the key is not asked.

        Raises:
            BlobError: it could not be signed.
        """

    async def ping(self) -> None:
        """Show that the store can be reached and written to.

        Raises:
            BlobError: it cannot; the message says what to look at.
        """

    async def close(self) -> None:
        """Let go of connections."""


def checked_key(key: str) -> str:
    """The key, if it is one that leads nowhere but into the store.

    Raises:
        BlobNotFound: it is not, so that no store has anything under it.
    """
    if not is_key(key):
        raise BlobNotFound(
            "a blob key may hold letters, digits, '_', '-' and inner dots only, in parts divided by '/', "
            f"with {_LONGEST_PART} characters in a part and {_LONGEST_KEY} in all at most"
        )
    return key


def is_key(name: str) -> bool:
    """Whether this can be a key. Names that begin with a dot are the stores' own: uploads under way."""
    if len(name) > _LONGEST_KEY or not _KEY.fullmatch(name):
        return False
    return all(len(part) <= _LONGEST_PART for part in name.split("/"))


def checked_prefix(prefix: str) -> str:
    """The prefix without a `/` at its end.

    Raises:
        BlobError: no key can begin with it.
    """
    return checked_key(prefix.removesuffix("/")) if prefix else ""


def checked_range(start: int, end: int | None) -> bool:
    """Whether it is less than the whole blob, whatever that holds. Raises ValueError for a range that no blob has."""
    if start < 0 or (end is not None and end < start):
        raise ValueError(f"there is no range from {start} to {end}")
    return start > 0 or end is not None


def range_within(size: int, start: int, end: int | None) -> tuple[int, int]:
    """The part of the range that a blob of this size has."""
    end = size if end is None else min(end, size)
    return min(start, end), end


def checked_seconds(seconds: int) -> int:
    """Raises ValueError for a life time that no signed URL can have."""
    if not 1 <= seconds <= LONGEST_SIGNED_SECONDS:
        raise ValueError(f"a signed URL lives for 1 to {LONGEST_SIGNED_SECONDS} seconds, not {seconds}")
    return seconds


@asynccontextmanager
async def request(
    seconds: float, failures: tuple[type[Exception], ...], translate: Callable[[Exception], BlobError]
) -> AsyncIterator[None]:
    """What is awaited inside has so many seconds, the SDK's own retries included.

    Args:
        seconds: how long all of it may take.
        failures: what the SDK raises.
        translate: makes one of ours of it. The SDK's own text is not passed on: it may quote a signed address.

    Raises:
        BlobError: it took too long, or the SDK gave up.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except failures as error:
        raise translate(error) from None
    except TimeoutError:
        raise BlobError(f"the store of files gave no answer within {seconds:g} seconds") from None
