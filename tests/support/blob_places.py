"""An empty place for blobs on each kind of store, behind a network that can fail."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from datalayer.blobs import BlobOptions, BlobStore, open_blob_store
from tests.support.azurite import AzuriteServer
from tests.support.data_lake_server import DataLakeServer
from tests.support.faulty_network import FaultyNetwork
from tests.support.patience import PATIENCE_SECONDS
from tests.support.s3_server import REGION, S3Server

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient

# Of a store that does not answer, so that a request fails within the time of a test.
SHORT_PATIENCE_SECONDS = 3.0


@dataclass(frozen=True)
class Place:
    """The URL of a store, and the options to open it."""

    url: str
    options: BlobOptions

    async def remains(self) -> list[str]:
        """The names of all blobs in the place, and of incomplete uploads."""
        raise NotImplementedError


@dataclass(frozen=True)
class NetworkPlace(Place):
    """A place behind a network."""

    network: FaultyNetwork
    missing: str
    """The URL of a container that is not there."""
    refused: tuple[BlobOptions, ...]
    """Credentials that are not let in."""
    last_request: bytes
    """A pattern for the beginning of the request that ends a large upload."""

    def impatient(self) -> BlobStore:
        """A store that gives up soon. On a busy machine it may also give up a request that is only slow."""
        return open_blob_store(self.url, replace(self.options, patience_seconds=SHORT_PATIENCE_SECONDS))


@dataclass(frozen=True)
class FolderPlace(Place):
    folder: Path

    async def remains(self) -> list[str]:
        return [str(path.relative_to(self.folder)) for path in self.folder.rglob("*")]


@dataclass(frozen=True)
class AzureBlobPlace(NetworkPlace):
    service: "BlobServiceClient"
    container: str

    async def remains(self) -> list[str]:
        blobs = self.service.get_container_client(self.container).list_blobs(include=["uncommittedblobs"])
        return [blob.name async for blob in blobs]


@dataclass(frozen=True)
class DataLakePlace(NetworkPlace):
    server: DataLakeServer
    container: str

    async def remains(self) -> list[str]:
        # The folders of the prefix stay.
        return [name for name in self.server.containers[self.container] if name not in ("some", "some/prefix")]


@dataclass(frozen=True)
class S3Place(NetworkPlace):
    server: S3Server
    bucket: str

    async def remains(self) -> list[str]:
        import aioboto3  # noqa: PLC0415  slow, like each SDK here, and few tests need it

        session = aioboto3.Session(self.server.access_key_id, self.server.secret_access_key, region_name=REGION)
        async with session.client("s3", endpoint_url=f"http://127.0.0.1:{self.server.port}") as client:
            uploads = (await client.list_multipart_uploads(Bucket=self.bucket)).get("Uploads", [])
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
            objects = [found async for page in pages for found in page.get("Contents", [])]
        return [found["Key"] for found in [*objects, *uploads]]


@asynccontextmanager
async def azure_blob_place(server: AzuriteServer) -> AsyncIterator[AzureBlobPlace]:
    """A new container."""
    from azure.storage.blob.aio import BlobServiceClient  # noqa: PLC0415

    container = f"box-{secrets.token_hex(4)}"
    address = f"http://127.0.0.1:{server.port}/{server.account}"
    credential = {"account_name": server.account, "account_key": server.key}
    async with FaultyNetwork(server.port) as network, BlobServiceClient(address, credential=credential) as service:
        await service.create_container(container)
        endpoint = f"http://127.0.0.1:{network.port}/{server.account}"
        options = BlobOptions(azure_key=server.key, azure_endpoint=endpoint, patience_seconds=PATIENCE_SECONDS)
        yield AzureBlobPlace(
            f"azure-blob://{server.account}/{container}/some/prefix",
            options,
            network,
            f"azure-blob://{server.account}/nowhere",
            (replace(options, azure_key="bm90IHRoZSBrZXk="),),
            rb"PUT \S+comp=blocklist",
            service,
            container,
        )


@asynccontextmanager
async def data_lake_place() -> AsyncIterator[DataLakePlace]:
    """A new server."""
    from azure.storage.filedatalake.aio import DataLakeServiceClient  # noqa: PLC0415

    async with DataLakeServer() as server, FaultyNetwork(server.port) as network:
        credential = {"account_name": server.account, "account_key": server.key}
        async with DataLakeServiceClient(server.url, credential=credential) as service:
            await service.create_file_system("box")
        endpoint = f"http://127.0.0.1:{network.port}"
        options = BlobOptions(azure_key=server.key, azure_endpoint=endpoint, patience_seconds=PATIENCE_SECONDS)
        yield DataLakePlace(
            f"azure://{server.account}/box/some/prefix",
            options,
            network,
            f"azure://{server.account}/nowhere",
            (replace(options, azure_key="bm90IHRoZSBrZXk="),),
            rb"PUT \S+mode=legacy",
            server,
            "box",
        )


@asynccontextmanager
async def s3_place(server: S3Server) -> AsyncIterator[S3Place]:
    """A new bucket."""
    import aioboto3  # noqa: PLC0415

    bucket = f"box-{secrets.token_hex(4)}"
    session = aioboto3.Session(server.access_key_id, server.secret_access_key, region_name=REGION)
    async with session.client("s3", endpoint_url=f"http://127.0.0.1:{server.port}") as client:
        await client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    server.check_signatures(checked=True)
    async with FaultyNetwork(server.port) as network:
        options = BlobOptions(
            s3_endpoint=f"http://127.0.0.1:{network.port}",
            s3_region=REGION,
            s3_access_key_id=server.access_key_id,
            s3_secret_access_key=server.secret_access_key,
            patience_seconds=PATIENCE_SECONDS,
        )
        refused = (replace(options, s3_secret_access_key="x"), replace(options, s3_access_key_id="AKIAUNKNOWN"))
        try:
            yield S3Place(
                f"s3://{bucket}/some/prefix",
                options,
                network,
                "s3://nowhere",
                refused,
                rb"POST \S+\?uploadId=",
                server,
                bucket,
            )
        finally:
            server.check_signatures(checked=False)
