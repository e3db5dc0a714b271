"""S3, and servers that speak its protocol.

Content larger than a chunk is sent in parts, which become visible when a last request joins them to an object; if that
fails, they are dropped. boto's own `upload_fileobj` is not used: when it is cancelled it leaves its
tasks and parts behind, and by default it keeps as many chunks waiting in memory as the file has.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from io import BytesIO
from typing import Any

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from datalayer.blobs.base import (
    BlobOptions,
    BlobStore,
    Content,
    ListedBlob,
    OpenBlob,
    StoredBlob,
    UnfinishedUpload,
    checked_key,
    checked_prefix,
    checked_range,
    checked_seconds,
    is_key,
    range_within,
    request,
)
from datalayer.blobs.content import MEBIBYTE, MeasuredContent
from datalayer.blobs.headers import content_disposition, content_type
from datalayer.errors import BlobError, BlobNotFound, BlobRefused

logger = logging.getLogger(__name__)

# S3 accepts at most 10,000 parts, of at least 5 MiB except the last: 50 GB.
_PART_BYTES = 5 * MEBIBYTE
_CHUNK_BYTES = MEBIBYTE
_CONNECT_SECONDS = 5
_WORDS = {
    "NoSuchBucket": "there is no such bucket",
    "InvalidAccessKeyId": "the access key does not exist",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "AccessDenied": "the credentials lack a permission: see the required permissions in docs/files.md",
    "ExpiredToken": "the session token has expired",
    "InvalidToken": "the session token is not valid",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set AWS_REGION",
}


class S3Blobs(BlobStore):
    """Objects in one bucket, with an optional prefix."""

    def __init__(self, bucket: str, prefix: str, options: BlobOptions) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._options = options
        self._client: Any = None
        self._clients = AsyncExitStack()
        self._one_at_a_time = asyncio.Lock()
        self._proved_writable = False

    async def put(self, key: str, content: Content, mime: str, *, name: str | None = None) -> StoredBlob:
        target = self._target(key)
        headers = {
            "ContentType": content_type(mime),
            "ContentDisposition": content_disposition(name, content_type(mime)),
        }
        client = await self._connected()
        async with MeasuredContent(content, _PART_BYTES) as chunks:
            chunk = await chunks.read()
            if len(chunk) < _PART_BYTES:
                async with self._request():
                    await client.put_object(**target, **headers, Body=BytesIO(chunk))
            else:
                mark = secrets.token_hex(8)
                async with self._request():
                    upload = await client.create_multipart_upload(**target, **headers, Metadata={"upload": mark})
                await self._upload_parts(client, {**target, "UploadId": upload["UploadId"]}, mark, chunk, chunks)
            return chunks.stored_as(key)

    async def open(self, key: str, start: int = 0, end: int | None = None) -> OpenBlob:
        target = self._target(key)
        client = await self._connected()
        if not checked_range(start, end):
            async with self._request():
                answer = await client.get_object(**target)
            return self._opened(answer, answer["ContentLength"], 0, answer["ContentLength"])
        async with self._request():
            size = (await client.head_object(**target))["ContentLength"]
        start, end = range_within(size, start, end)
        if start == end:
            return OpenBlob(size, start, end)
        async with self._request():
            answer = await client.get_object(**target, Range=f"bytes={start}-{end - 1}")
        return self._opened(answer, size, start, end)

    async def delete(self, key: str) -> None:
        target = self._target(key)
        client = await self._connected()
        async with self._request():
            await client.delete_object(**target)

    async def list(self, prefix: str = "") -> AsyncIterator[ListedBlob]:
        beginning = self._prefix + (f"{checked_prefix(prefix)}/" if prefix else "")
        client = await self._connected()
        pages = aiter(client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=beginning))
        while True:
            async with self._request():
                page = await anext(pages, None)
            if page is None:
                return
            for found in page.get("Contents", ()):
                key = found["Key"].removeprefix(self._prefix)
                if is_key(key):
                    yield ListedBlob(key, found["Size"], found["LastModified"])

    async def unfinished(self) -> AsyncIterator[UnfinishedUpload]:
        client = await self._connected()
        pages = aiter(client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self._prefix))
        while True:
            async with self._request():
                page = await anext(pages, None)
            if page is None:
                return
            for found in page.get("Uploads", ()):
                name = found["Key"].removeprefix(self._prefix)
                if is_key(name):
                    yield UnfinishedUpload(f"{name}?{found['UploadId']}", found["Initiated"])

    async def discard(self, upload: UnfinishedUpload) -> None:
        key, _, upload_id = upload.name.partition("?")
        client = await self._connected()
        with suppress(BlobNotFound):
            async with self._request():
                await client.abort_multipart_upload(**self._target(key), UploadId=upload_id)

    async def signed_url(self, key: str, seconds: int) -> str | None:
        target = self._target(key)
        checked_seconds(seconds)
        client = await self._connected()
        async with self._request():
            url: str = await client.generate_presigned_url("get_object", Params=target, ExpiresIn=seconds)
        return url

    async def ping(self) -> None:
        client = await self._connected()
        if not self._proved_writable:
            probe = {"Bucket": self._bucket, "Key": f"{self._prefix}.ping-{secrets.token_hex(8)}"}
            async with self._request():
                await client.put_object(**probe, Body=b"")
                await client.delete_object(**probe)
            self._proved_writable = True
        async with self._request():
            await client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)

    async def close(self) -> None:
        async with self._one_at_a_time:
            self._client = None
            await self._clients.aclose()

    def _target(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + checked_key(key)}

    async def _connected(self) -> Any:
        async with self._one_at_a_time:
            if self._client is None:
                options = self._options
                session = aioboto3.Session(
                    aws_access_key_id=options.s3_access_key_id,
                    aws_secret_access_key=options.s3_secret_access_key,
                    aws_session_token=options.s3_session_token,
                    region_name=options.s3_region,
                )
                settings = AioConfig(
                    connect_timeout=_CONNECT_SECONDS,
                    read_timeout=options.patience_seconds,
                    retries={"mode": "standard", "total_max_attempts": 4},
                    signature_version="s3v4",
                    # Some compatible servers do not support the newer checksums.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    # Servers with an address of their own seldom have a host name for each bucket.
                    s3={"addressing_style": "path" if options.s3_endpoint else "auto"},
                )
                try:
                    self._client = await self._clients.enter_async_context(
                        session.client("s3", endpoint_url=options.s3_endpoint, verify=options.ca_file, config=settings)
                    )
                except (BotoCoreError, ValueError):
                    raise BlobRefused("the endpoint, region or profile of S3 is not valid") from None
            return self._client

    async def _upload_parts(
        self, client: Any, upload: dict[str, str], mark: str, chunk: bytes, chunks: MeasuredContent
    ) -> None:
        parts: list[dict[str, object]] = []
        try:
            while chunk:
                number = len(parts) + 1
                async with self._request():
                    part = await client.upload_part(**upload, PartNumber=number, Body=BytesIO(chunk))
                parts.append({"PartNumber": number, "ETag": part["ETag"]})
                chunk = await chunks.read()
            await self._complete(client, upload, mark, parts)
        except BaseException:
            await self._abort(client, upload)
            raise

    async def _complete(self, client: Any, upload: dict[str, str], mark: str, parts: Sequence[object]) -> None:
        try:
            async with self._request():
                await client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except BlobNotFound:
            # boto repeats the request if the answer was lost; then the first request has completed the upload already.
            async with self._request():
                found = await client.head_object(Bucket=upload["Bucket"], Key=upload["Key"])
            if found["Metadata"].get("upload") != mark:
                raise BlobError("the bucket lost the upload before it was complete") from None

    async def _abort(self, client: Any, upload: dict[str, str]) -> None:
        try:
            async with self._request():
                await client.abort_multipart_upload(**upload)
        except BlobNotFound:
            return
        except BlobError as error:
            logger.warning("the parts of a failed upload could not be deleted: %s", error)

    def _opened(self, answer: Any, size: int, start: int, end: int) -> OpenBlob:
        body = answer["Body"]
        return OpenBlob(size, start, end, self._chunks(body, end - start), body.close)

    async def _chunks(self, body: Any, length: int) -> AsyncIterator[bytes]:
        left = length
        while left:
            async with self._request():
                chunk: bytes = await body.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise BlobError("the blob store closed the connection during a download")
            left -= len(chunk)
            yield chunk

    def _request(self) -> AbstractAsyncContextManager[None]:
        failures = (BotoCoreError, ClientError, aiohttp.ClientError)
        return request(self._options.patience_seconds, failures, _translate)


def _translate(error: Exception) -> BlobError:
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
        # A response to HEAD has no body, so its code is the status.
        if code in ("NoSuchKey", "NoSuchUpload", "404"):
            return BlobNotFound("the bucket has no object under this key")
        reply = f"{status} {code}".strip()
        error_type = BlobRefused if status in (401, 403) or code in _WORDS else BlobError
        return error_type(f"S3 refused the request ({reply})" + (f": {_WORDS[code]}" if code in _WORDS else ""))
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return BlobError("the credentials for S3 are missing or incomplete")
    return BlobError(f"S3 cannot be reached now ({type(error).__name__})")
