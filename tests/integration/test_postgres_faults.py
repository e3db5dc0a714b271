"""Faults of Postgres (restarts, killed connections, timeouts, locks, an outage) while fifty writers write.

Each fault is real, on a durable server of the test. Each test checks the same: no acknowledged write is lost or
replaced by an older state, and every other write has failed with a typed error.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from datalayer import StorageUnavailable, create_data_layer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.database import Database
from datalayer.errors import TimedOut
from datalayer.writes import queue
from tests.support.many_writers import ManyWriters
from tests.support.postgres import Cluster
from tests.support.records import new_id, step, thread, user_id

pytestmark = pytest.mark.slow


@pytest.fixture
async def url(stoppable_url: str) -> str:
    """A migrated database on a server that a test can stop."""
    layer = create_data_layer(stoppable_url)
    await layer.migrate()
    await layer.close()
    return stoppable_url


@pytest.fixture
async def layer(url: str) -> AsyncIterator[ChainlitLayer]:
    layer = create_data_layer(url)
    yield layer
    await layer.close()


@pytest.fixture
async def witness(url: str) -> AsyncIterator[ChainlitLayer]:
    """Reads the stored data over its own connections, opened after the fault."""
    layer = create_data_layer(url)
    yield layer
    await layer.close()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restart_during_fifty_writers_loses_no_acknowledged_write(
    stoppable_postgres: Cluster, layer: ChainlitLayer, witness: ChainlitLayer, mode: str
) -> None:
    writers = ManyWriters(layer)
    async with writers.writing():
        await writers.more_acknowledged(500)
        for _ in range(2):
            await asyncio.to_thread(stoppable_postgres.restart, mode)
            await writers.more_acknowledged(500)
    counts = await writers.compared_with(witness)
    assert counts.broken == 0
    assert counts.failures.total() == 0, "the restart was shorter than the patience"


async def test_killed_backends_during_fifty_writers_lose_no_acknowledged_write(
    url: str, layer: ChainlitLayer, witness: ChainlitLayer
) -> None:
    writers, database, killed = ManyWriters(layer), Database(url), 0
    async with writers.writing():
        await writers.more_acknowledged(500)
        for _ in range(15):
            killed += await kill_backends(database)
            await writers.more_acknowledged(50)
    counts = await writers.compared_with(witness)
    print(f"{killed} backends were killed")
    assert killed >= 15
    assert counts.broken == 0
    assert counts.failures.total() == 0
    await database.close()


async def test_a_read_on_a_killed_connection_is_retried_on_another(url: str, layer: ChainlitLayer) -> None:
    await user_id(layer, "ann")
    database = Database(url)
    async with database.write() as connection:
        await connection.execute(text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
        read = asyncio.create_task(layer.get_user("ann"))
        await until_a_backend_waits_for_a_lock(database)
        assert await kill_backends(database, waiting=True) == 1
    found = await read
    assert found is not None
    assert found.identifier == "ann"
    await database.close()


async def test_statement_timeouts_during_fifty_writers_lose_no_acknowledged_write(
    url: str, witness: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The lock is held until the read below has given up, which waits for the writes that wait for the lock.
    monkeypatch.setattr(queue, "WAIT_SECONDS", 1.0)
    database = Database(url)
    await set_for_all(database, statement_timeout="300ms", lock_timeout="200ms")
    layer = create_data_layer(url)
    writers = ManyWriters(layer)
    async with writers.writing():
        await writers.more_acknowledged(200)
        for table in ("steps", "threads", "feedbacks"):
            async with database.write() as connection:
                await connection.execute(text("SET LOCAL statement_timeout = 0"))
                await connection.execute(text("SET LOCAL lock_timeout = 0"))
                await connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
                if table == "threads":
                    with pytest.raises(StorageUnavailable):
                        await layer.get_thread(new_id())
                await asyncio.sleep(1)
            await writers.more_acknowledged(200)
    counts = await writers.compared_with(witness)
    assert counts.broken == 0
    assert counts.failures.total() == 0, "each time-out was shorter than the patience"
    await layer.close()
    await database.close()


async def test_a_lock_longer_than_the_patience_is_reported(url: str, witness: ChainlitLayer) -> None:
    database = Database(url)
    await set_for_all(database, statement_timeout="300ms", lock_timeout="200ms")
    layer = create_data_layer(url, patience_seconds=0.5)
    writers = ManyWriters(layer)
    async with writers.writing():
        await writers.more_acknowledged(200)
        async with database.write() as connection:
            await connection.execute(text("SET LOCAL statement_timeout = 0"))
            await connection.execute(text("SET LOCAL lock_timeout = 0"))
            await connection.execute(text("LOCK TABLE steps IN ACCESS EXCLUSIVE MODE"))
            async with asyncio.timeout(60):
                while not writers.failed:
                    await asyncio.sleep(0.01)
        await writers.more_acknowledged(200)
    counts = await writers.compared_with(witness)
    assert counts.broken == 0
    assert counts.reasons == {"TimedOut"}
    await layer.close()
    await database.close()


async def test_a_write_that_always_times_out_does_not_fail_others(url: str, witness: ChainlitLayer) -> None:
    database = Database(url)
    # After the patience, each half of the writes is tried once: only the locked row may time out, however slow the
    # others are.
    await set_for_all(database, lock_timeout="300ms")
    layer = create_data_layer(url, patience_seconds=1)
    locked, threads = await thread(layer, None), [await thread(layer, None) for _ in range(20)]
    async with database.write() as connection:
        await connection.execute(text("SELECT * FROM threads WHERE id = :id FOR UPDATE"), {"id": locked})
        ids = [*threads[:10], locked, *threads[10:]]
        changes = [layer.update_thread(one, name="new") for one in ids]
        steps = [layer.create_step(step(one)) for one in ids]
        results = await asyncio.gather(*changes, *steps, return_exceptions=True)
    assert [type(result) for result in results] == ([type(None)] * 10 + [TimedOut] + [type(None)] * 10) * 2
    for one in threads:
        stored = await witness.get_thread(one)
        assert (stored["name"], len(stored["steps"])) == ("new", 1)
    await layer.close()
    await database.close()


async def test_with_an_exhausted_pool_reads_fail_in_time_and_writes_continue(url: str, witness: ChainlitLayer) -> None:
    layer = create_data_layer(url, pool_size=1, max_overflow=0, pool_timeout=0.3)
    await user_id(layer, "ann")
    writers = ManyWriters(layer)
    async with layer.database.read() as connection:
        await connection.execute(text("SELECT 1"))
        async with writers.writing():
            await writers.more_acknowledged(500)
            for _ in range(3):
                with pytest.raises(StorageUnavailable, match="in use"):
                    async with asyncio.timeout(30):
                        await layer.ping()
            await writers.more_acknowledged(500)
    assert await layer.get_user("ann") is not None
    counts = await writers.compared_with(witness)
    assert counts.broken == 0
    assert counts.failures.total() == 0
    await layer.close()


async def test_a_long_outage_is_reported_and_writes_continue_after_it(
    stoppable_postgres: Cluster, url: str, witness: ChainlitLayer
) -> None:
    layer = create_data_layer(url, patience_seconds=1)
    writers = ManyWriters(layer)
    async with writers.writing():
        await writers.more_acknowledged(200)
        await asyncio.to_thread(stoppable_postgres.halt)
        try:
            async with asyncio.timeout(60):
                while writers.failed < 200:
                    await asyncio.sleep(0.01)
            with pytest.raises(StorageUnavailable):
                await layer.ping()
        finally:
            await asyncio.to_thread(stoppable_postgres.resume)
        await writers.more_acknowledged(200)
    counts = await writers.compared_with(witness)
    assert counts.broken == 0
    assert counts.reasons == {"ConnectionLost"}
    await layer.close()


async def kill_backends(database: Database, *, waiting: bool = False) -> int:
    """Kill all other backends of this database, or only those that wait for a lock. Returns their number."""
    statement = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with database.read() as connection:
        return len((await connection.execute(text(statement + " AND wait_event_type = 'Lock'" * waiting))).all())


async def until_a_backend_waits_for_a_lock(database: Database) -> None:
    statement = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with asyncio.timeout(30), database.read() as connection:
        while not (await connection.execute(statement)).scalar_one():
            await asyncio.sleep(0.01)


async def set_for_all(database: Database, **settings: str) -> None:
    """Change settings of this database for all new connections."""
    async with database.read() as connection:
        name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
        for setting, value in settings.items():
            await connection.execute(text(f"ALTER DATABASE \"{name}\" SET {setting} = '{value}'"))
