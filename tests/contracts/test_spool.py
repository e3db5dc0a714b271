"""What `close` could not store is in the spool file, and the next start stores it; the queue itself is bounded."""

import asyncio
import stat
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import datalayer
from datalayer import create_data_layer
from datalayer.database import Database
from datalayer.writer import Writer
from tests.records import new_id, step


async def test_what_close_could_not_store_is_stored_by_the_next_start(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool, thread_id = tmp_path / "spool.jsonl", new_id()
    writes = [step(thread_id, str(number)) for number in range(300)]
    layer = create_data_layer(database_url, spool=spool)
    other = create_data_layer(database_url)
    async with other.database.write() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text("LOCK TABLE threads, steps IN EXCLUSIVE MODE"))
        calls: list[asyncio.Task[Any]] = [asyncio.create_task(layer.create_step(one)) for one in writes]
        calls.append(asyncio.create_task(layer.update_step({**writes[0], "output": "newest"})))
        calls.append(asyncio.create_task(layer.update_thread(thread_id, name="Kept", metadata={"a": None, "b": 1})))
        calls.append(asyncio.create_task(layer.delete_step(new_id())))
        await asyncio.sleep(0.05)
        await layer.close(0.3)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, datalayer.StorageUnavailable) for result in results), "a failure was not told"
    assert "303 writes could not be stored before the end: 302 are in the spool file, 1 are lost" in caplog.text
    assert stat.S_IMODE(spool.stat().st_mode) == 0o600
    with spool.open("a") as file:
        file.write('{"kind": "step", "cut sh')

    again = create_data_layer(database_url, spool=spool)
    await again.migrate()
    kept = await again.get_thread(thread_id)
    assert kept["name"] == "Kept"
    assert {one["id"] for one in kept["steps"]} == {one["id"] for one in writes}
    assert [one["output"] for one in kept["steps"] if one["id"] == writes[0]["id"]] == ["newest"]
    assert not spool.exists()
    assert (tmp_path / "spool.refused.jsonl").read_text() == '{"kind": "step", "cut sh\n'
    await again.close()
    await other.close()


async def test_past_its_bound_the_queue_lets_writes_in_in_order_and_in_time(database_url: str) -> None:
    database = Database(database_url)
    writer = Writer(database, most_queued=5, admission_seconds=0.2)
    gate, seen = asyncio.Event(), []

    def noting(number: int) -> Any:
        async def note(_connection: AsyncConnection) -> None:
            await gate.wait()
            seen.append(number)

        return note

    first = [writer.submit(noting(number)) for number in range(12)]
    await asyncio.sleep(0.4)
    later = [writer.submit(noting(number)) for number in range(12, 14)]
    gate.set()
    results = await asyncio.gather(*first, *later, return_exceptions=True)
    refused = [number for number, result in enumerate(results) if isinstance(result, datalayer.StorageUnavailable)]
    assert refused == list(range(5, 12))
    assert seen == [0, 1, 2, 3, 4, 12, 13]
    assert await writer.close() == (0, 0)
    await database.close()


async def test_a_read_meets_no_connection_that_the_server_has_killed(database_url: str, engine: str) -> None:
    if engine == "sqlite":
        pytest.skip("SQLite has no server")
    layer = create_data_layer(database_url)
    await asyncio.gather(*(layer.ping() for _ in range(5)))
    other = Database(database_url)
    async with other.read() as connection:
        killed = await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = :name AND pid <> pg_backend_pid()"
            ),
            {"name": urlsplit(database_url).path[1:]},
        )
        assert len(killed.all()) == 5
    await asyncio.sleep(0.1)
    for _ in range(5):
        await layer.ping()
    await layer.close()
    await other.close()
