"""A deleted thread stays deleted, whatever process writes to it afterwards; only an import brings it back."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

import datalayer
from datalayer import create_data_layer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in, utc_now
from datalayer.history.deletion_marks import KEPT_SECONDS
from datalayer.records.writes import ElementWrite, FavoriteMark, StepWrite, ThreadWrite
from datalayer.schema.chat import deleted_threads, elements, steps, threads, users
from datalayer.takeout.export import export_user
from datalayer.takeout.import_ import import_user
from datalayer.writes import steps as step_writes
from datalayer.writes.spool import Spool
from tests.contracts.test_elements import text_element
from tests.support.records import new_id, step, thread, user_id, vote


@pytest.fixture
async def other(layer: ChainlitLayer, database_url: str) -> AsyncIterator[ChainlitLayer]:
    """A second replica."""
    replica = create_data_layer(database_url, layer.blobs)
    yield replica
    await replica.close()


async def marks(layer: ChainlitLayer) -> list[str]:
    async with layer.database.read() as connection:
        return list((await connection.execute(select(deleted_threads.c.id))).scalars())


async def rows(layer: ChainlitLayer) -> dict[str, int]:
    async with layer.database.read() as connection:
        return {
            table.name: (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (threads, steps, elements)
        }


async def write_late(layer: ChainlitLayer, written: dict[str, Any]) -> None:
    """All that a session may still write, one by one and together."""
    thread_id = written["threadId"]
    await layer.create_step(step(thread_id, "alone"))
    await layer.update_step({**written, "output": "changed"})
    await layer.update_thread(thread_id)
    await layer.update_thread(thread_id, metadata={"client_type": "webapp"})
    await layer.update_thread(thread_id, name="a name", tags=["x"])
    await layer.create_element(text_element(thread_id, written["id"], "a file"))
    await layer.set_step_favorite(written, True)
    with pytest.raises(datalayer.NotFound):
        await layer.upsert_feedback(vote(written["id"], 1))
    kept = step(new_id(), "another thread")
    together = (layer.create_step(step(thread_id, str(number))) for number in range(5))
    await asyncio.gather(*together, layer.create_step(kept), layer.update_thread(thread_id, name="again"))
    assert len((await layer.get_thread(kept["threadId"]))["steps"]) == 1
    await layer.delete_thread(kept["threadId"])


@pytest.mark.parametrize("actor", ["alice", datalayer.SYSTEM])
@pytest.mark.parametrize("deletion", ["thread", "receipt", "user", "retention", "foreign key"])
async def test_late_writes_of_another_replica_do_not_bring_a_deleted_thread_back(
    layer: ChainlitLayer, other: ChainlitLayer, deletion: str, actor: Any
) -> None:
    with datalayer.acting_as("alice"):
        written = step(await thread(layer, await user_id(layer, "alice")))
        await other.create_step(written)
    thread_id = written["threadId"]
    match deletion:
        case "thread":
            await layer.delete_thread(thread_id)
        case "receipt":
            await layer.delete_thread_with_receipt(thread_id)
        case "user":
            await layer.delete_user("alice")
        case "retention":
            await layer.apply_retention({"threads": utc_in(60)})
        case "foreign key":
            # As an operator or Chainlit's own layer would.
            async with layer.database.write() as connection:
                await connection.execute(users.delete())
    assert await marks(layer) == [thread_id]
    with datalayer.acting_as(actor):
        await write_late(other, written)
        await write_late(layer, written)
    assert await rows(layer) == {"threads": 0, "steps": 0, "elements": 0}


async def test_a_mark_outlives_the_process_and_drops_what_a_spool_file_holds(
    layer: ChainlitLayer, database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool, written = Spool(tmp_path / "spool.jsonl"), step(new_id())
    await layer.create_step(written)
    await layer.delete_thread(written["threadId"])
    await layer.close()
    thread_id, moment = written["threadId"], utc_now()
    record = datalayer.Step(id=new_id(), thread_id=thread_id, output="late")
    of_thread = datalayer.Thread(id=thread_id, name="late")
    element = datalayer.Element(id=new_id(), thread_id=thread_id, name="late")
    spool.append(
        [
            StepWrite(record, moment, True, True, "alice", False),
            ThreadWrite(of_thread, moment, "alice", False),
            ElementWrite(element, moment, "alice", False),
            FavoriteMark(record.id, thread_id, True, "alice", False),
        ]
    )
    again = create_data_layer(database_url, spool=spool.path)
    with caplog.at_level(logging.INFO, "datalayer.history.deletion_marks"):
        await again.migrate()
    dropped = [one.__dict__["thread_id"] for one in caplog.records if "dropped" in one.getMessage()]
    assert dropped == [thread_id] * 4
    assert await rows(again) == {"threads": 0, "steps": 0, "elements": 0}
    assert not spool.path.exists()
    assert not spool.refused.exists()
    await again.close()


async def test_a_write_that_waits_for_a_deletion_in_progress_does_not_bring_the_thread_back(
    layer: ChainlitLayer, other: ChainlitLayer
) -> None:
    """On Postgres, these statements began before the mark was committed."""
    waiting: list[Callable[[str], Coroutine[Any, Any, None]]] = [
        lambda one: other.create_step(step(one, "late")),
        lambda one: other.update_thread(one, metadata={"late": True}),
        lambda one: other.update_thread(one),
        lambda one: other.create_element(text_element(one, new_id(), "late")),
    ]
    for write in waiting:
        thread_id = await thread(other, None)
        # This replica knows the thread.
        await other.create_step(step(thread_id))
        async with layer.database.write() as connection:
            await connection.execute(select(threads.c.id).where(threads.c.id == thread_id).with_for_update())
            late = asyncio.create_task(write(thread_id))
            await asyncio.sleep(0.1)
            await connection.execute(steps.delete().where(steps.c.threadId == thread_id))
            await connection.execute(threads.delete().where(threads.c.id == thread_id))
        await late
        assert await layer.get_thread(thread_id) is None


async def test_a_deletion_of_a_thread_that_never_existed_leaves_no_mark(layer: ChainlitLayer) -> None:
    thread_id = new_id()
    await layer.delete_thread(thread_id)
    assert await marks(layer) == []
    await layer.create_step(step(thread_id))
    assert len((await layer.get_thread(thread_id))["steps"]) == 1


async def test_a_refused_deletion_leaves_no_mark(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, await user_id(layer, "alice"))
    with datalayer.acting_as("bob"), pytest.raises(datalayer.Forbidden):
        await layer.delete_thread(thread_id)
    assert await marks(layer) == []


async def test_an_import_brings_a_deleted_thread_back_and_it_accepts_writes(
    layer: ChainlitLayer, other: ChainlitLayer, tmp_path: Path
) -> None:
    written = step(await thread(layer, await user_id(layer, "alice")), "before")
    await layer.create_step(written)
    path = tmp_path / "alice.zip"
    await export_user(layer.database, layer.blobs, "alice", path)
    await layer.delete_thread(written["threadId"])
    await other.create_step(step(written["threadId"], "late"))
    await import_user(layer.database, layer.blobs, path)
    assert await marks(layer) == []
    await other.create_step(step(written["threadId"], "after"))
    found = await layer.get_thread(written["threadId"])
    assert [one["output"] for one in found["steps"]] == ["before", "after"]


async def test_a_mark_is_removed_at_a_start_after_its_time(layer: ChainlitLayer) -> None:
    old, young = await thread(layer, None), await thread(layer, None)
    for one in (old, young):
        await layer.delete_thread(one)
    async with layer.database.write() as connection:
        await connection.execute(
            update(deleted_threads).where(deleted_threads.c.id == old).values(deletedAt=utc_in(-KEPT_SECONDS - 60))
        )
    await layer.migrate()
    assert await marks(layer) == [young]


async def test_the_time_of_a_mark_is_utc(layer: ChainlitLayer) -> None:
    earliest = utc_in(-5)
    await layer.delete_thread(await thread(layer, None))
    async with layer.database.read() as connection:
        moment = (await connection.execute(select(deleted_threads.c.deletedAt))).scalar_one()
    assert earliest < moment < utc_in(5)
    assert len(moment) >= len("2026-01-01T00:00:00.000Z")
    assert moment.endswith("Z")


async def test_a_thread_that_an_update_makes_belongs_to_the_acting_user(layer: ChainlitLayer) -> None:
    thread_id, owner = new_id(), await user_id(layer, "alice")
    with datalayer.acting_as("alice"):
        await layer.update_thread(thread_id, metadata={"mood": "calm"})
        assert (await layer.get_thread(thread_id))["userId"] == owner
    with datalayer.acting_as("bob"), pytest.raises(datalayer.Forbidden):
        await layer.update_thread(thread_id, metadata={"mood": "wild"})


async def test_a_raw_insert_of_a_deleted_thread_stores_nothing_and_of_others_all(layer: ChainlitLayer) -> None:
    gone, kept = await thread(layer, None), new_id()
    await layer.delete_thread(gone)
    async with layer.database.write() as connection:
        await connection.execute(text("INSERT INTO threads (id) VALUES (:a), (:b)"), {"a": gone, "b": kept})
    assert await rows(layer) == {"threads": 1, "steps": 0, "elements": 0}


async def test_an_update_that_meets_the_creation_of_its_thread_by_another_replica_is_stored(
    layer: ChainlitLayer, other: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, paths = step(new_id(), "created"), layer.database.dialect.hot_paths
    real, calls = paths.write_steps, 0

    async def write(writes: Any) -> Any:
        nonlocal calls
        calls += 1
        kept = await real(writes)
        if calls == 1:
            assert kept == set()
            await other.create_step(written)
        return kept

    monkeypatch.setattr(paths, "write_steps", write)
    update_ = StepWrite(
        datalayer.Step(id=written["id"], thread_id=written["threadId"], output="changed"),
        *(utc_now(), False, False, None, True),
    )
    assert await step_writes.write(layer.database, [update_]) == [None]
    assert [one["output"] for one in (await layer.get_thread(written["threadId"]))["steps"]] == ["changed"]
    # Those of somebody else are refused as before.
    foreign = replace(update_, actor="bob", system=False)
    (refused,) = await step_writes.write(layer.database, [foreign])
    assert isinstance(refused, datalayer.Forbidden)
