"""Azure Blob Storage: accounts without a hierarchical namespace.

Content larger than a chunk is staged in blocks, which become visible when a last request joins them to a blob. Their
names are unique to the upload: with the SDK's names, which are numbers, two uploads of one key would mix.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobSasPermissions, ContentSettings, generate_blob_sas
from azure.storage.blob.aio import BlobClient, BlobServiceClient, ContainerClient

from datalayer.blobs.azure import CHUNK_BYTES, AzureStore, error_code
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

_ATTEMPTS = 5


class AzureBlobs(AzureStore[BlobServiceClient]):
    """Blobs in one container, with an optional prefix."""

    def __init__(self, account: str, container: str, prefix: str, options: BlobOptions) -> None:
        super().__init__(account, container, prefix, options, service=BlobServiceClient, kind="blob")

    async def put(self, key: str, content: Content, mime: str, *, name: str | None = None) -> StoredBlob:
        blob = self._blob(self._path(key))
        settings = ContentSettings(
            content_type=content_type(mime), content_disposition=content_disposition(name, content_type(mime))
        )
        # If two uploads run concurrently, the first to finish drops the blocks of the other, which then starts again.
        for _ in range(_ATTEMPTS):
            async with MeasuredContent(content, CHUNK_BYTES) as chunks:
                if await self._upload(blob, chunks, settings):
                    return chunks.stored_as(key)
            if not isinstance(content, bytes | Path):
                break
        raise BlobError("another upload to the same key interfered")

    async def open(self, key: str, start: int = 0, end: int | None = None) -> OpenBlob:
        blob = self._blob(self._path(key))
        if not checked_range(start, end):
            async with self._account.request():
                download = await blob.download_blob(max_concurrency=1)
            return OpenBlob(download.size, 0, download.size, self._account.chunks(download.chunks()))
        async with self._account.request():
            size = (await blob.get_blob_properties()).size
        start, end = range_within(size, start, end)
        if start == end:
            return OpenBlob(size, start, end)
        async with self._account.request():
            download = await blob.download_blob(start, end - start, max_concurrency=1)
        return OpenBlob(size, start, end, self._account.chunks(download.chunks()))

    async def delete(self, key: str) -> None:
        blob = self._blob(self._path(key))
        with suppress(BlobNotFound):
            async with self._account.request():
                await blob.delete_blob(delete_snapshots="include")

    async def list(self, prefix: str = "") -> AsyncIterator[ListedBlob]:
        beginning = self._prefix + (f"{checked_prefix(prefix)}/" if prefix else "")
        blobs = aiter(self._container.list_blobs(name_starts_with=beginning or None))
        while True:
            async with self._account.request():
                found = await anext(blobs, None)
            if found is None:
                return
            key = found.name.removeprefix(self._prefix)
            if is_key(key):
                yield ListedBlob(key, found.size, found.last_modified)

    async def unfinished(self) -> AsyncIterator[UnfinishedUpload]:
        """None: the service drops blocks without a blob after a week."""
        nothing: tuple[UnfinishedUpload, ...] = ()
        for upload in nothing:
            yield upload

    async def discard(self, upload: UnfinishedUpload) -> None:
        """Do nothing: `unfinished` lists none."""

    async def signed_url(self, key: str, seconds: int) -> str | None:
        name = self._path(key)
        signing_key = await self._account.signing_key(checked_seconds(seconds))
        if signing_key is None:
            return None
        credential = "account_key" if isinstance(signing_key, str) else "user_delegation_key"
        signature = generate_blob_sas(
            self._account.account,
            self._container_name,
            name,
            permission=BlobSasPermissions(read=True),
            **{credential: signing_key},
            **self._account.expiry(seconds),
        )
        return f"{self._blob(name).url}?{signature}"

    async def ping(self) -> None:
        if not self._proved_writable:
            probe = self._blob(f"{self._prefix}.ping-{secrets.token_hex(8)}")
            async with self._account.request():
                await probe.upload_blob(b"", overwrite=True)
                await probe.delete_blob()
            self._proved_writable = True
        async with self._account.request():
            await anext(aiter(self._container.list_blobs(name_starts_with=self._prefix, results_per_page=1)), None)

    @property
    def _container(self) -> ContainerClient:
        return self._account.client.get_container_client(self._container_name)

    def _blob(self, name: str) -> BlobClient:
        return self._container.get_blob_client(name)

    async def _upload(self, blob: BlobClient, chunks: MeasuredContent, settings: ContentSettings) -> bool:
        """False if another upload of the same key dropped the blocks of this one."""
        upload = secrets.token_hex(8)
        chunk = await chunks.read()
        if len(chunk) < CHUNK_BYTES:
            async with self._account.request():
                await blob.upload_blob(BytesIO(chunk), length=len(chunk), overwrite=True, content_settings=settings)
            return True
        blocks: list[BlobBlock] = []
        while chunk:
            block = f"{upload}-{len(blocks):06}"
            async with self._account.request():
                await blob.stage_block(block, BytesIO(chunk), length=len(chunk))
            blocks.append(BlobBlock(block))
            chunk = await chunks.read()
        async with self._account.request():
            try:
                await blob.commit_block_list(blocks, content_settings=settings)
            except HttpResponseError as error:
                if error_code(error) != "InvalidBlockList":
                    raise
                return False
        return True
