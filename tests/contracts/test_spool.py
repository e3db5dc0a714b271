"""What `close` could not store is in the spool file, and the next start stores it; the queue itself is bounded."""

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import chainlit as cl
import pytest
from chainlit.user import User
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import datalayer
from datalayer import create_data_layer, feedback
from datalayer.database import Database
from datalayer.records import Recorded
from datalayer.spool import KINDS
from datalayer.writer import Writer
from tests.records import new_id, step, thread, vote


async def test_what_close_could_not_store_is_stored_by_the_next_start(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool, thread_id = tmp_path / "spool.jsonl", new_id()
    writes = [step(thread_id, str(number)) for number in range(300)]
    layer = create_data_layer(database_url, spool=spool)
    async with standing_still(database_url):
        calls: list[asyncio.Task[Any]] = [asyncio.create_task(layer.create_step(one)) for one in writes]
        calls.append(asyncio.create_task(layer.update_step({**writes[0], "output": "newest"})))
        calls.append(asyncio.create_task(layer.update_thread(thread_id, name="Kept", metadata={"a": None, "b": 1})))
        calls.append(asyncio.create_task(layer.delete_step(new_id())))
        await asyncio.sleep(0.05)
        await layer.close(0.3)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, datalayer.StorageUnavailable) for result in results), "a failure was not told"
    assert "303 writes could not be stored before the end: 303 are in the spool file, 0 are lost" in caplog.text
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


async def test_every_kind_of_write_is_kept_and_stored_by_the_next_start(database_url: str, tmp_path: Path) -> None:
    spool, blobs = tmp_path / "spool.jsonl", f"file://{tmp_path / 'blobs'}"
    layer = create_data_layer(database_url, blobs, spool=spool)
    thread_id, gone_id = await thread(layer, None, "before"), await thread(layer, None)
    first, second, third = [step(thread_id, str(number)) for number in range(3)]
    for one in (first, second, third):
        await layer.create_step(one)
    old_vote = await layer.upsert_feedback(vote(second["id"], 0))
    fate: dict[str, cl.Element] = {}
    for name, home in (("deleted", thread_id), ("with its step", thread_id), ("with its thread", gone_id)):
        fate[name] = cl.File(name=name, content=b"x", thread_id=home)
        fate[name].for_id = third["id"] if home == thread_id else None
        await layer.create_element(fate[name])
    assert len(list((tmp_path / "blobs").glob("*/*"))) == 3
    new = cl.File(name="new", content=b"kept", thread_id=thread_id)
    new.for_id = first["id"]

    async with standing_still(database_url):
        calls: list[asyncio.Task[Any]] = [
            asyncio.create_task(call)
            for call in (
                layer.create_user(User(identifier="late", metadata={"image": "x"})),
                layer.replace_thread_name(thread_id, "before", "after"),
                layer.delete_element(fate["deleted"].id, thread_id),
                layer.upsert_feedback(vote(first["id"], 1, "good")),
                layer.delete_feedback(old_vote),
                layer.set_step_favorite(first, True),
                layer.delete_step(third["id"]),
                layer.delete_thread(gone_id),
                layer.create_step(step(gone_id, "too late")),
                layer.create_element(new),
            )
        ]
        async with asyncio.timeout(20):
            while layer.queued_writes < len(calls):
                await asyncio.sleep(0.01)
        await layer.close(0.3)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, datalayer.StorageUnavailable) for result in results), results
    assert len(spool.read_text().splitlines()) == len(calls)

    again = create_data_layer(database_url, blobs, spool=spool)
    # The line of a process that ended between storing and striking out is applied twice, and does no harm.
    lines = spool.read_text()
    await again.migrate()
    spool.write_text(lines)
    await again.migrate()
    assert not spool.exists()
    assert not (tmp_path / "spool.refused.jsonl").exists()
    kept = await again.get_thread(thread_id)
    assert kept["name"] == "after"
    assert [one["id"] for one in kept["steps"]] == [first["id"], second["id"]]
    assert kept["steps"][0]["feedback"]["comment"] == "good"
    assert kept["steps"][0]["metadata"]["favorite"]
    assert kept["steps"][1].get("feedback") is None
    assert [one["id"] for one in kept["elements"]] == [new.id]
    assert await again.get_thread(gone_id) is None
    found = await again.get_user("late")
    assert found is not None
    assert found.metadata == {"image": "x"}
    assert [path.read_bytes() for path in (tmp_path / "blobs").glob("*/*")] == [b"kept"]
    async with again.database.read() as connection:
        assert [value for value, *_ in await feedback.changes_of_step(connection, first["id"])] == [1]
        assert [value for value, *_ in await feedback.changes_of_step(connection, second["id"])] == [0, None]
    await again.close()


def test_the_spool_file_knows_every_kind_of_write() -> None:
    assert set(get_args(Recorded)) == set(KINDS.values())


async def test_a_cut_that_comes_late_leaves_alone_what_was_written_meanwhile(database_url: str, tmp_path: Path) -> None:
    spool = tmp_path / "spool.jsonl"
    layer, other = create_data_layer(database_url, spool=spool), create_data_layer(database_url)
    thread_id = await thread(layer, None)
    asked, answered = step(thread_id, "asked"), step(thread_id, "answered")
    await layer.create_step(asked)
    await layer.create_step(answered)
    async with standing_still(database_url):
        call = asyncio.create_task(layer.cut_thread(thread_id, asked["id"]))
        await asyncio.sleep(0.05)
        await layer.close(0.3)
    with pytest.raises(datalayer.StorageUnavailable, match="kept in the spool file"):
        await call
    newer = step(thread_id, "asked elsewhere")
    await other.create_step(newer)
    again = create_data_layer(database_url, spool=spool)
    await again.migrate()
    assert [one["id"] for one in (await again.get_thread(thread_id))["steps"]] == [asked["id"], newer["id"]]
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


@contextlib.asynccontextmanager
async def standing_still(database_url: str) -> AsyncIterator[None]:
    """Within the block nothing can be written to the database."""
    database = Database(database_url)
    async with database.write() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text("LOCK TABLE users, threads, steps, elements, feedbacks IN EXCLUSIVE MODE"))
        yield
    await database.close()
