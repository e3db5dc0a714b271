"""Postgres behind PgBouncer: it is found out, no session is relied upon, and nothing is lost or mixed up.

With TEST_POOLER the other contracts run behind it too (`make test-pooler`).
"""

import asyncio
import json
import logging
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

import datalayer
from datalayer import ConfigurationError, StorageUnavailable
from datalayer.database import Database
from datalayer.dialects import postgresql_connector
from datalayer.dialects.postgresql_connector import Connector
from tests.support import program
from tests.support.pgbouncer import pgbouncer, through
from tests.support.postgres import Databases
from tests.support.records import new_id, step

# Each has poolers of its own.
pytestmark = pytest.mark.without_pooler

STATEMENT = text("SELECT 7")


@pytest.fixture(params=["transaction", "session"])
def pooled_url(request: pytest.FixtureRequest, postgres: Databases) -> Iterator[str]:
    """An empty database behind PgBouncer in each mode, with two connections to the server."""
    url = postgres.direct(postgres.create())
    size = 2 if request.param == "transaction" else 20
    with pgbouncer(postgres.server_url, request.param, pool_size=size) as port:
        yield through(url, port)
    postgres.drop(url)


@pytest.fixture
async def direct(postgres: Databases) -> AsyncIterator[Database]:
    """A database that is reached without a pooler."""
    url = postgres.direct(postgres.create())
    database = Database(url)
    yield database
    await database.close()
    postgres.drop(url)


def is_pooled(database: Database) -> bool | None:
    return database.dialect.connector.is_pooled  # type: ignore[attr-defined,no-any-return]


async def test_a_pooler_is_found_out_and_gets_no_settings(
    pooled_url: str, direct: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    database = Database(pooled_url)
    jit, plans = text("SELECT current_setting('jit')"), text("SELECT count(*) FROM pg_prepared_statements")
    try:
        for _ in range(3):
            assert [tuple(row) for row in await database.fetch(jit, {})] == [("on",)]
            assert await database.query(lambda connection: connection.scalar(jit)) == "on"
            assert [tuple(row) for row in await database.fetch(plans, {})] == [(0,)]
        assert is_pooled(database)
    finally:
        await database.close()
    assert len([record for record in caplog.records if "a connection pooler is in between" in record.message]) <= 2
    assert [tuple(row) for row in await direct.fetch(jit, {})] == [("off",)]
    assert is_pooled(direct) is False


async def test_a_pooler_that_makes_up_the_right_process_id_by_accident_is_found_out(
    pooled_url: str, direct: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = Connector(pooled_url)
    first = await connector.open(unnamed=True)
    process = await first.fetchval("SELECT pg_backend_pid()")
    await first.close()
    await asyncio.sleep(0.2)
    monkeypatch.setattr(postgresql_connector, "_OLDER_SECONDS", 0.1)
    with monkeypatch.context() as lucky:
        lucky.setattr(asyncpg.Connection, "get_server_pid", lambda _: process)
        second = await connector.connect({"jit": "off"})
    assert await second.fetchval("SELECT pg_backend_pid()") == process
    assert connector.is_pooled
    await second.close()
    # Without a pooler, the server's process begins with the connection.
    assert [tuple(row) for row in await direct.fetch(STATEMENT, {})] == [(7,)]
    assert is_pooled(direct) is False


@pytest.mark.slow
async def test_two_processes_lose_and_mix_up_nothing(pooled_url: str, tmp_path: Path) -> None:
    def write() -> subprocess.CompletedProcess[str]:
        return program.run("tests.support.pooled_writer", [pooled_url, "300"], directory=tmp_path)

    for done in await asyncio.gather(*(asyncio.to_thread(write) for _ in range(2))):
        assert done.returncode == 0, done.stderr
        counts = json.loads(done.stdout.splitlines()[-1])
        assert counts.pop("acknowledged") >= 300
        assert counts == {"failures": {}, "lost": 0, "older": 0, "half": 0, "disordered": 0}


@pytest.mark.parametrize("more", ["", "&pooler=transaction", "&pgbouncer=true", "&prepared_statement_cache_size=0"])
async def test_a_parameter_that_the_pooler_refuses_is_told(pooled_url: str, more: str) -> None:
    database = Database(f"{pooled_url}?options=-c%20geqo%3Doff{more}")
    with pytest.raises(ConfigurationError, match="unsupported startup parameter: options"):
        await database.ping()
    await database.close()


async def test_what_the_pooler_says_is_told(postgres: Databases) -> None:
    with pgbouncer(postgres.server_url, "transaction", only="another") as port:
        database = Database(through(postgres.server_url, port))
        with pytest.raises(StorageUnavailable, match="no such database: postgres"):
            await database.ping()
        await database.close()


async def test_a_role_is_asked_for_without_named_statements(pooled_url: str) -> None:
    database = Database(f"{pooled_url}?target_session_attrs=read-write")
    counted = text("SELECT count(*) FROM pg_prepared_statements")
    assert [tuple(row) for row in await database.fetch(counted, {})] == [(0,)]
    await database.close()


async def test_a_read_whose_statement_is_lost_is_repeated(direct: Database) -> None:
    """As behind a pooler that was not found out."""
    assert (await direct.fetch(STATEMENT, {}))[0][0] == 7
    await direct.fetch(text("DEALLOCATE ALL"), {})
    assert (await direct.fetch(STATEMENT, {}))[0][0] == 7
    assert is_pooled(direct)


async def test_a_read_of_sqlalchemy_whose_statement_is_lost_is_repeated(direct: Database) -> None:
    assert await direct.query(lambda connection: connection.scalar(STATEMENT)) == 7
    async with direct.read() as connection:
        await (await connection.get_raw_connection()).driver_connection.execute("DEALLOCATE ALL")  # type: ignore[union-attr]
    assert await direct.query(lambda connection: connection.scalar(STATEMENT)) == 7
    assert is_pooled(direct)


async def test_a_write_whose_statement_is_lost_is_repeated(postgres: Databases, migrated_postgres: str) -> None:
    url = postgres.direct(postgres.create(migrated_postgres))
    layer = datalayer.create_data_layer(url)
    thread_id = new_id()
    await layer.create_step(step(thread_id, "one"))
    await layer.database.dialect.hot_paths._connection.execute("DEALLOCATE ALL")  # type: ignore[attr-defined]
    for words in ("two", "three"):
        await layer.create_step(step(thread_id, words))
    found = await layer.get_thread(thread_id)
    assert found is not None
    assert [one["output"] for one in found["steps"]] == ["one", "two", "three"]
    await layer.close()
    postgres.drop(url)
