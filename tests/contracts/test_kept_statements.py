"""The statements that a connection to Postgres keeps: how many, how long, and how long one may take."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from datalayer.dialects.postgresql_connector import Connector
from tests.support.postgres import Databases


@pytest.fixture
async def opened(postgres: Databases, migrated_postgres: str) -> AsyncIterator[Any]:
    """Opens connections with parameters of the URL."""
    url = postgres.direct(postgres.create(migrated_postgres))
    connections: list[Any] = []

    async def connect(query: str) -> Any:
        connections.append(await Connector(f"{url}?{query}").connect({}))
        return connections[-1]

    yield connect
    for connection in connections:
        await connection.close(timeout=5)
    postgres.drop(url)


async def test_a_statement_is_prepared_once_and_the_oldest_is_given_up(opened: Any) -> None:
    connection = await opened("statement_cache_size=3&pooler=none")
    for number in (10, 11, 10, 12, 10, 13, 10):
        assert [tuple(row) for row in await connection.fetch(f"SELECT {number}")] == [(number,)]
    assert list(connection._kept) == ["SELECT 12", "SELECT 13", "SELECT 10"]


async def test_the_time_of_a_statement_begins_with_itself(opened: Any) -> None:
    connection = await opened("command_timeout=2&pooler=none")
    # Together they take longer than one of them may take.
    for _ in range(8):
        await connection.fetch("SELECT pg_sleep(0.3)")
    with pytest.raises(TimeoutError):
        await connection.fetch("SELECT pg_sleep(60)")
    # The server has ended it, and the connection can be used.
    assert [tuple(row) for row in await connection.fetch("SELECT 7")] == [(7,)]


async def test_who_is_cancelled_is_not_told_of_the_time(opened: Any) -> None:
    connection = await opened("pooler=none")
    task = asyncio.ensure_future(connection.fetch("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [tuple(row) for row in await connection.fetch("SELECT 7")] == [(7,)]


async def test_a_statement_of_a_changed_table_is_prepared_again(opened: Any) -> None:
    connection = await opened("pooler=none")
    await connection.execute("CREATE TABLE changing (id integer); INSERT INTO changing VALUES (1)")
    every = "SELECT * FROM changing"
    assert [tuple(row) for row in await connection.fetch(every)] == [(1,)]
    await connection.execute("ALTER TABLE changing ADD COLUMN more text DEFAULT 'x'")
    assert [tuple(row) for row in await connection.fetch(every)] == [(1, "x")]
    await connection.execute("ALTER TABLE changing DROP COLUMN more")
    async with connection.transaction():
        with pytest.raises(asyncpg.InvalidCachedStatementError):
            await connection.fetch(every)


@pytest.mark.parametrize(
    ("query", "is_kept"),
    [
        ("max_cacheable_statement_size=8", False),
        ("max_cacheable_statement_size=0", True),
        ("max_cached_statement_lifetime=0", True),
        ("statement_cache_size=0", True),
    ],
)
async def test_the_limits_of_the_url_hold(opened: Any, query: str, is_kept: bool) -> None:
    connection = await opened(query)
    await connection.fetch("SELECT 1000")
    before = connection._kept.get("SELECT 1000")
    await connection.fetch("SELECT 1000")
    assert (before is not None) is is_kept
    assert connection._kept.get("SELECT 1000") is before


async def test_an_old_statement_is_prepared_anew(opened: Any) -> None:
    connection = await opened("max_cached_statement_lifetime=1&pooler=none")
    await connection.fetch("SELECT 1000")
    (before,) = connection._kept.values()
    await asyncio.sleep(1.1)
    await connection.fetch("SELECT 1000")
    (after,) = connection._kept.values()
    assert after[0] is not before[0]
