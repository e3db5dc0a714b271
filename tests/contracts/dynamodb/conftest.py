"""DynamoDB in place of the SQL engines: one server for all tests of this folder, and a table for each test."""

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.dynamodb import lanes, tables
from datalayer.dynamodb.client import Table, place_of
from tests.contracts.dynamodb.test_limits import dynamo
from tests.support.dynamodb_server import dynamodb_server, table_prefix
from tests.support.patience import PATIENCE_SECONDS


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `--dist loadgroup`: one worker runs all tests of this folder, so there is one server.

    It runs before that of `tests/conftest.py`, which puts the groups behind the ids.
    """
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("dynamodb"))


@pytest.fixture(scope="session")
def dynamodb_options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The options of the URL of a running server."""
    with dynamodb_server(tmp_path_factory.mktemp("dynamodb")) as options, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "WAIT_SECONDS", PATIENCE_SECONDS)
        yield options


@pytest.fixture(scope="session")
def tables_client(dynamodb_options: str) -> Iterator[Any]:
    """A client that creates and deletes the tables of the tests: made once, because that takes some time."""
    import boto3  # noqa: PLC0415  slow, and few tests need it

    place = place_of(f"dynamodb://any?{dynamodb_options}")
    client = boto3.client("dynamodb", region_name=place.region, endpoint_url=place.endpoint_url)
    yield client
    client.close()


@pytest.fixture
def empty_database_url(dynamodb_options: str, tables_client: Any) -> Iterator[str]:
    """The URL of a table that does not exist; the test may create it."""
    name = f"{table_prefix()}-{secrets.token_hex(6)}"
    yield f"dynamodb://{name}?{dynamodb_options}"
    with suppress(tables_client.exceptions.ResourceNotFoundException):
        tables_client.delete_table(TableName=name)


@pytest.fixture
def database_url(empty_database_url: str, tables_client: Any) -> str:
    """The URL of an empty table."""
    name = place_of(empty_database_url).table
    tables_client.create_table(TableName=name, **tables.DESCRIPTION)
    if "TEST_DYNAMODB_URL" in os.environ:
        tables_client.get_waiter("table_exists").wait(TableName=name)
    return empty_database_url


@pytest.fixture(params=["sqlite", "postgres"])
def sql_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty, migrated SQL database, on each engine."""
    if request.param == "sqlite":
        copy = tmp_path / "sql.db"
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), copy)
        yield f"sqlite:///{copy}"
        return
    databases = request.getfixturevalue("postgres")
    url = databases.create(request.getfixturevalue("migrated_postgres"))
    yield url
    databases.drop(url)


@pytest.fixture
async def sql(sql_url: str, tmp_path: Path) -> AsyncIterator[ChainlitLayer]:
    """A data layer on the SQL database, with the file store of `layer`."""
    layer = datalayer.create_data_layer(sql_url, f"file://{tmp_path / 'blobs'}")
    yield layer
    await layer.close()


@pytest.fixture
async def layer(database_url: str, tmp_path: Path) -> AsyncIterator[ChainlitLayer]:
    """A data layer with files in a folder."""
    layer = datalayer.create_data_layer(database_url, f"file://{tmp_path / 'blobs'}")
    yield layer
    await layer.close()


@pytest.fixture
async def table(database_url: str) -> AsyncIterator[Table]:
    """An empty table."""
    table = Table(place_of(database_url))
    yield table
    await table.close()


@pytest.fixture
async def counted_requests(layer: ChainlitLayer) -> list[str]:
    """The names of the requests that `layer` sends from now on."""
    sent: list[str] = []
    client = await dynamo(layer).table._connected()
    client.meta.events.register("before-send.dynamodb", lambda **given: sent.append(given["event_name"].split(".")[-1]))
    return sent
