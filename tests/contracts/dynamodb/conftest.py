"""DynamoDB in place of the SQL engines: one server for all tests of this folder, and a table for each test."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from datalayer.dynamodb import tables
from datalayer.dynamodb.client import Table, place_of
from tests.support.dynamodb_server import dynamodb_server, table_prefix


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `--dist loadgroup`: one worker runs all tests of this folder, so there is one server."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("dynamodb"))


@pytest.fixture(scope="session")
def dynamodb_options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The options of the URL of a running server."""
    with dynamodb_server(tmp_path_factory.mktemp("dynamodb")) as options:
        yield options


@pytest.fixture
async def empty_database_url(dynamodb_options: str) -> AsyncIterator[str]:
    """The URL of a table that does not exist; the test may create it."""
    url = f"dynamodb://{table_prefix()}-{secrets.token_hex(6)}?{dynamodb_options}"
    yield url
    table = Table(place_of(url))
    if await tables.exists(table):
        await table.call("delete_table")
    await table.close()


@pytest.fixture
async def table(empty_database_url: str) -> AsyncIterator[Table]:
    """An empty table."""
    table = Table(place_of(empty_database_url))
    await tables.create(table)
    yield table
    await table.close()
