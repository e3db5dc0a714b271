"""Fixtures shared by the contracts: each blob store, and a database of the other engine."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from datalayer.blobs import BlobOptions
from tests.support.blob_places import FolderPlace, Place, azure_blob_place, data_lake_place, s3_place
from tests.support.postgres import Databases


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
