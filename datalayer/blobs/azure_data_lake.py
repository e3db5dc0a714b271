"""Azure Data Lake Storage Gen2: accounts with a hierarchical namespace.

A file is visible from its creation on, empty, and grows with each flush. So the store writes it under a hidden name and
then renames it, which is atomic.
"""

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO

from azure.storage.filedatalake import ContentSettings, FileSasPermissions, PathProperties, generate_file_sas
from azure.storage.filedatalake.aio import DataLakeFileClient, DataLakeServiceClient, FileSystemClient

from datalayer.blobs.azure import CHUNK_BYTES, AzureStore
from datalayer.blobs.base import (
    BlobOptions,
    Content,
    ListedBlob,
    OpenBlob,
    StoredBlob,
    UnfinishedUpload,
    checked_prefix,
    checked_range,
    checked_seconds,
    is_key,
    range_within,
)
from datalayer.blobs.content import MeasuredContent
from datalayer.blobs.headers import content_disposition, content_type
from datalayer.errors import BlobError, BlobNotFound

logger = logging.getLogger(__name__)

_PART = ".part-"


class DataLakeBlobs(AzureStore[DataLakeServiceClient]):
    """Files in one container, with an optional prefix."""

    def __init__(self, account: str, container: str, prefix: str, options: BlobOptions) -> None:
        super().__init__(account, container, prefix, options, service=DataLakeServiceClient, kind="dfs")

    async def put(self, key: str, content: Content, mime: str, *, name: str | None = None) -> StoredBlob:
        path = self._path(key)
        folder, _, _ = path.rpartition("/")
        upload = secrets.token_hex(8)
        hidden = f"{folder}/{_PART}{upload}".removeprefix("/")
        part = self._file(hidden)
        settings = ContentSettings(
            content_type=content_type(mime), content_disposition=content_disposition(name, content_type(mime))
        )
        async with MeasuredContent(content, CHUNK_BYTES) as chunks:
            try:
                async with self._account.request():
                    await part.create_file(content_settings=settings, metadata={"upload": upload})
                position = 0
                while chunk := await chunks.read():
                    async with self._account.request():
                        await part.append_data(BytesIO(chunk), position, len(chunk))
                    position = chunks.size
                if position:
                    async with self._account.request():
                        await part.flush_data(position, content_settings=settings, close=True)
                await self._rename(part, path, upload)
            except BaseException:
                await self._discard(hidden)
                raise
            return chunks.stored_as(key)

    async def open(self, key: str, start: int = 0, end: int | None = None) -> OpenBlob:
        file = self._file(self._path(key))
        if not checked_range(start, end):
            async with self._account.request():
                download = await file.download_file(max_concurrency=1)
            size = int(download.size)
            return OpenBlob(size, 0, size, self._account.chunks(download.chunks()))
        async with self._account.request():
            size = int((await file.get_file_properties()).size)
        start, end = range_within(size, start, end)
        if start == end:
            return OpenBlob(size, start, end)
        async with self._account.request():
            download = await file.download_file(offset=start, length=end - start, max_concurrency=1)
        return OpenBlob(size, start, end, self._account.chunks(download.chunks()))

    async def delete(self, key: str) -> None:
        path = self._path(key)
        with suppress(BlobNotFound):
            await self._remove(path)

    async def list(self, prefix: str = "") -> AsyncIterator[ListedBlob]:
        async for found in self._files(checked_prefix(prefix)):
            key = found.name.removeprefix(self._prefix)
            if is_key(key):
                yield ListedBlob(key, int(found.content_length), _moment(found.last_modified))

    async def unfinished(self) -> AsyncIterator[UnfinishedUpload]:
        async for found in self._files(""):
            name = found.name.removeprefix(self._prefix)
            if name.rpartition("/")[2].startswith(_PART):
                yield UnfinishedUpload(name, _moment(found.last_modified))

    async def discard(self, upload: UnfinishedUpload) -> None:
        with suppress(BlobNotFound):
            await self._remove(self._prefix + upload.name)

    async def signed_url(self, key: str, seconds: int) -> str | None:
        path = self._path(key)
        folder, _, name = path.rpartition("/")
        signing_key = await self._account.signing_key(checked_seconds(seconds))
        if signing_key is None:
            return None
        signature = generate_file_sas(
            self._account.account,
            self._container_name,
            folder,
            name,
            credential=signing_key,
            permission=FileSasPermissions(read=True),
            **self._account.expiry(seconds),
        )
        return f"{self._file(path).url}?{signature}"

    async def ping(self) -> None:
        if not self._proved_writable:
            await self._prove_writable()
            self._proved_writable = True
        # The folder of the prefix may not exist yet.
        with suppress(BlobNotFound):
            async with self._account.request():
                await anext(
                    aiter(
                        self._container.get_paths(
                            path=self._prefix.removesuffix("/") or None, recursive=False, max_results=1
                        )
                    ),
                    None,
                )

    @property
    def _container(self) -> FileSystemClient:
        return self._account.client.get_file_system_client(self._container_name)

    def _file(self, path: str) -> DataLakeFileClient:
        return self._container.get_file_client(path)

    async def _files(self, prefix: str) -> AsyncIterator[PathProperties]:
        folder = f"{self._prefix}{prefix}".removesuffix("/") or None
        paths = aiter(self._container.get_paths(path=folder, recursive=True))
        while True:
            try:
                async with self._account.request():
                    found = await anext(paths, None)
            except BlobNotFound:
                # A missing folder has no files.
                return
            if found is None:
                return
            if not found.is_directory:
                yield found

    async def _rename(self, part: DataLakeFileClient, path: str, upload: str) -> None:
        try:
            async with self._account.request():
                await part.rename_file(f"{self._container_name}/{path}")
        except BlobNotFound:
            # The SDK repeats the request if the answer was lost; then the first request has renamed the file already.
            async with self._account.request():
                found = await self._file(path).get_file_properties()
            if (found.metadata or {}).get("upload") != upload:
                raise BlobError("Azure's store lost the upload before it was complete") from None

    async def _discard(self, part: str) -> None:
        try:
            await self._remove(part)
        except BlobNotFound:
            return
        except BlobError as error:
            logger.warning("the remains of a failed upload could not be deleted: %s", error)

    async def _remove(self, path: str) -> None:
        async with self._account.request():
            await self._file(path).delete_file()
        # Delete the folder of a thread after its last file. The service refuses to delete a folder with files, so that
        # a file that is stored there at the same time is safe.
        folder, _, _ = path.removeprefix(self._prefix).rpartition("/")
        with suppress(BlobError):
            while folder:
                async with self._account.request():
                    await self._file(self._prefix + folder).delete_file(recursive=False)
                folder, _, _ = folder.rpartition("/")

    async def _prove_writable(self) -> None:
        probe = self._file(f"{self._prefix}.ping-{secrets.token_hex(8)}")
        async with self._account.request():
            await probe.create_file()
            await probe.delete_file()


def _moment(modified: datetime) -> datetime:
    """The SDK's time, which is in UTC but may lack a time zone."""
    return modified if modified.tzinfo else modified.replace(tzinfo=UTC)
