"""The store of elements' files: one protocol, and one implementation for each kind of store.

A blob is stored whole or not at all, under a key that its caller chose. Storing it again replaces it, so a retry never
creates a second one. Contents are read in chunks and are never whole in memory, unless the caller uses `read`.
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

# Signed URLs of Amazon and Azure are valid for a week at most.
LONGEST_SIGNED_SECONDS = 7 * 24 * 3600

_PLAIN_PART = r"[A-Za-z0-9_-](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?"
_PLAIN_KEY = re.compile(rf"{_PLAIN_PART}(?:/{_PLAIN_PART})*")
# Other programs make keys of names of users and files. Left out is what a store or a proxy reads as something else: a
# backslash is a slash for Azure, `%` and `?` have a meaning in URLs, and some stores drop a dot or a blank at the end.
_PART = r"(?![.\s])[^/\\%?\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+(?<![.\s])"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_LONGEST_KEY = 1024
_LONGEST_PART = 255
"""Bytes in UTF-8: the limits of S3, and of file systems."""


@dataclass(frozen=True, slots=True)
class BlobOptions:
    """Credentials and endpoints of Azure or S3. For options that are not given, the SDK uses its own defaults.

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
    """Time limit in seconds of a request for one chunk (at most 5 MiB), including its retries."""
    ca_file: str | None = None
    """PEM file of the certificate authorities of the endpoint, if the system does not know them."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A stored blob: size in bytes and SHA-256 in hexadecimal, both computed while it was sent."""

    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ListedBlob:
    """A blob in the store: size in bytes, and the time it was stored (with its time zone)."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """An upload in progress or interrupted: the store's name of it, and the time of its last change."""

    name: str
    modified: datetime


class OpenBlob:
    """The bytes from `start` to before `end` of a blob of `size` bytes, as an iterator of chunks that is used once.

    It closes itself after the last chunk; use `async with` if the iteration may end earlier. Iterating raises BlobError
    if the store fails.
    """

    def __init__(
        self,
        size: int,
        start: int,
        end: int,
        chunks: AsyncIterator[bytes] | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        """Without chunks the range is empty; without `close` nothing stays open between two chunks."""
        self.size, self.start, self.end = size, start, end
        self._chunks = chunks
        self._close = close

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        async with self:
            if self._chunks is not None:
                async for chunk in self._chunks:
                    yield chunk

    async def close(self) -> None:
        """Close the connection or file; closing twice does no harm."""
        if self._close is not None:
            self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class BlobStore(Protocol):
    """Files under keys such as `<thread>/<element>`. A history that was adopted has keys with other characters too."""

    async def put(self, key: str, content: Content, mime: str, *, name: str | None = None) -> StoredBlob:
        """Store the content, whole or not at all; content under the same key is replaced.

        Args:
            key: of the blob; two concurrent uploads to one key leave the content of one of them.
            content: bytes, a file's path, or chunks of any size.
            mime: the content type with which the store serves it; a malformed one becomes `application/octet-stream`.
            name: the file name for downloads by signed URL.

        Raises:
            BlobError: it could not be stored; no part of it is visible under the key.
        """

    async def open(self, key: str, start: int = 0, end: int | None = None) -> OpenBlob:
        """The content, or the bytes from `start` to before `end`; bytes past the end of the blob are left out.

        Raises:
            BlobNotFound: no blob has this key.
            BlobError: it could not be read.
        """

    async def read(self, key: str) -> bytes:
        """The content, whole in memory.

        Raises:
            BlobNotFound: no blob has this key.
            BlobError: it could not be read.
        """
        async with await self.open(key) as blob:
            return b"".join([chunk async for chunk in blob])

    async def delete(self, key: str) -> None:
        """Delete the blob; a missing blob is not an error.

        Raises:
            BlobError: it could not be deleted.
        """

    def list(self, prefix: str = "") -> AsyncIterator[ListedBlob]:
        """All blobs, or those whose keys begin with the parts of `prefix`, in no particular order.

        Raises:
            BlobError: the list could not be read to its end.
        """

    def unfinished(self) -> AsyncIterator[UnfinishedUpload]:
        """Uploads in progress or interrupted; none if the store deletes interrupted uploads itself.

        Raises:
            BlobError: the list could not be read to its end.
        """

    async def discard(self, upload: UnfinishedUpload) -> None:
        """Drop one of the `unfinished`; one that has ended meanwhile is not an error.

        Raises:
            BlobError: it could not be dropped.
        """

    async def signed_url(self, key: str, seconds: int) -> str | None:
        """A URL with which anyone can read this blob for this many seconds (at most a week).

        None if the store has no such URLs, or its credentials cannot sign one. The blob need not exist.

        Raises:
            BlobError: it could not be signed.
        """

    async def ping(self) -> None:
        """Check that the store can be reached and written.

        Raises:
            BlobError: it cannot; the message names the cause.
        """

    async def close(self) -> None:
        """Close the connections."""


def checked_key(key: str) -> str:
    """The key, if it is valid; a valid key cannot lead out of the store.

    Raises:
        BlobNotFound: the key is not valid, so no store has a blob under it.
    """
    if not is_key(key):
        raise BlobNotFound(
            "a blob key has parts divided by '/', each without control characters, '\\', '%' and '?', and without a "
            f"dot or a blank at either end, with {_LONGEST_PART} bytes in a part and {_LONGEST_KEY} in all at most"
        )
    return key


def is_key(name: str) -> bool:
    """Whether this is a valid key. Names that begin with a dot belong to the store: uploads in progress."""
    if len(name) > _LONGEST_KEY or not _KEY.fullmatch(name):
        return False
    parts = [len(part.encode()) for part in name.split("/")]
    return max(parts) <= _LONGEST_PART and sum(parts) + len(parts) - 1 <= _LONGEST_KEY


def is_plain_key(name: str) -> bool:
    """Whether a key can be one of this library's own, which have letters, digits, `_`, `-` and inner dots alone."""
    return is_key(name) and _PLAIN_KEY.fullmatch(name) is not None


def checked_prefix(prefix: str) -> str:
    """The prefix without a `/` at its end.

    Raises:
        BlobNotFound: no key can begin with it.
    """
    return checked_key(prefix.removesuffix("/")) if prefix else ""


def checked_range(start: int, end: int | None) -> bool:
    """Whether the range may be less than the whole blob.

    Raises:
        ValueError: no blob has this range.
    """
    if start < 0 or (end is not None and end < start):
        raise ValueError(f"the range from {start} to {end} is not valid")
    return start > 0 or end is not None


def range_within(size: int, start: int, end: int | None) -> tuple[int, int]:
    """The part of the range within a blob of this size."""
    end = size if end is None else min(end, size)
    return min(start, end), end


def checked_seconds(seconds: int) -> int:
    """The lifetime of a signed URL.

    Raises:
        ValueError: it is not between 1 second and a week.
    """
    if not 1 <= seconds <= LONGEST_SIGNED_SECONDS:
        raise ValueError(f"a signed URL can be valid for 1 to {LONGEST_SIGNED_SECONDS} seconds, not {seconds}")
    return seconds


@asynccontextmanager
async def request(
    seconds: float, failures: tuple[type[Exception], ...], translate: Callable[[Exception], BlobError]
) -> AsyncIterator[None]:
    """A time limit for the requests in the block, and a translation of their errors.

    Args:
        seconds: the limit, including the SDK's own retries.
        failures: the errors of the SDK.
        translate: gives the library's error for one of them. The SDK's text is not used: it may quote a signed URL.

    Raises:
        BlobError: the limit passed, or the SDK gave up.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except failures as error:
        raise translate(error) from None
    except TimeoutError:
        raise BlobError(f"the blob store did not answer within {seconds:g} seconds") from None
