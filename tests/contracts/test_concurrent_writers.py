"""Concurrent writers and fire-and-forget writes: nothing is lost, and every failure is reported."""

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from chainlit.types import Feedback
from sqlalchemy import insert, select, text, update

import datalayer
from datalayer import create_data_layer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.history.threads import hold, lock
from datalayer.records.writes import StepDeletion
from datalayer.schema.chat import search_pending, steps, threads
from datalayer.schema.review import review_pending
from datalayer.writes.spool import Spool
from tests.support.patience import until
from tests.support.records import listed, new_id, page, step, thread, user_id

WAITS = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")


async def test_a_vote_in_a_deleted_thread_is_refused(layer: ChainlitLayer) -> None:
    thread_id, written = new_id(), step(new_id())
    written["threadId"] = thread_id
    await layer.create_step(written)
    await layer.delete_thread(thread_id)
    with pytest.raises(datalayer.NotFound):
        await layer.upsert_feedback(Feedback(forId=written["id"], value=1, threadId=thread_id))


@pytest.mark.parametrize("task", ["search", "review"])
async def test_a_deletion_and_a_task_that_takes_the_marks_of_its_thread_do_not_block_each_other(
    layer: ChainlitLayer, engine: str, caplog: pytest.LogCaptureFixture, task: str
) -> None:
    owner = await user_id(layer, "alice")
    going, staying = await thread(layer, owner), await thread(layer, owner)
    for one in (going, staying):
        await layer.create_step(step(one, "needle", type="assistant_message"))
    work = {"search": lambda: layer.search_indexer.own_left(owner), "review": layer.answer_follower.caught_up}[task]
    async with layer.database.write() as connection:
        await lock(connection, going)
        working = asyncio.create_task(work())
        if engine == "postgres":
            await until(lambda: layer.database.query(lambda other: other.scalar(WAITS)))
        for table in (search_pending, review_pending):
            await connection.execute(table.delete().where(table.c.threadId == going))
        await connection.execute(threads.delete().where(threads.c.id == going))
    assert await working == {"search": 0, "review": True}[task]
    assert not re.search("deadlock|retried", caplog.text)
    assert await listed(layer, owner, search="needle") == [staying]


async def test_the_erasure_of_a_user_and_a_task_take_the_threads_in_one_order(
    layer: ChainlitLayer, engine: str
) -> None:
    owner = await user_id(layer, "alice")
    first, second = sorted((new_id(), new_id()))
    for one in (second, first):
        # In this order, the table has them.
        await layer.update_thread(one, name="x", user_id=owner)
    async with layer.database.write() as connection:
        assert await hold(connection, [first]) == [first]
        erasing = asyncio.create_task(layer.delete_user("alice"))
        if engine == "postgres":
            await until(lambda: layer.database.query(lambda other: other.scalar(WAITS)))
        is_free = select(threads.c.id).where(threads.c.id == second)
        await connection.execute(is_free.with_for_update(read=True, key_share=True, nowait=True))
    assert (await erasing).threads == (first, second)


async def test_two_users_writing_one_step_are_applied_in_order(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, await user_id(layer, "alice"))
    written = step(thread_id, "created")
    await layer.create_step(written)

    async def say(actor: Any, output: str) -> None:
        with datalayer.acting_as(actor):
            await layer.update_step({**written, "output": output})

    await asyncio.gather(say("alice", "1"), say(datalayer.SYSTEM, "2"), say("alice", "3"))
    assert (await layer.get_thread(thread_id))["steps"][0]["output"] == "3"


async def test_a_queued_step_deletion_without_a_thread_id_is_read(layer: ChainlitLayer) -> None:
    thread_id, written = new_id(), step(new_id())
    written["threadId"] = thread_id
    await layer.create_step(written)
    deletion = asyncio.create_task(layer.delete_step(written["id"]))
    await asyncio.sleep(0)
    assert (await layer.get_thread(thread_id))["steps"] == []
    await deletion


async def test_a_write_of_a_cancelled_caller_is_read_and_its_failure_reported(
    layer: ChainlitLayer, caplog: pytest.LogCaptureFixture
) -> None:
    thread_id = await thread(layer, await user_id(layer, "alice"))
    kept = asyncio.create_task(layer.create_step(step(thread_id, "kept")))
    await asyncio.sleep(0)
    kept.cancel()
    assert [one["output"] for one in (await layer.get_thread(thread_id))["steps"]] == ["kept"]
    with datalayer.acting_as("bob"):
        refused = asyncio.create_task(layer.create_step(step(thread_id, "refused")))
        await asyncio.sleep(0)
        refused.cancel()
    await layer.settled(thread_id)
    cancelled = [record for record in caplog.records if "its caller was cancelled" in record.message]
    assert [(record.levelno, vars(record)["thread_id"]) for record in cancelled] == [(logging.ERROR, thread_id)]


@pytest.mark.parametrize(("depth", "digits"), [(600, 1), (1, 5_000)], ids=["too deep", "too many digits"])
async def test_a_value_that_cannot_be_stored_is_reported(database_url: str, depth: int, digits: int) -> None:
    failures: list[datalayer.WriteFailure] = []

    async def report(failure: datalayer.WriteFailure) -> None:
        failures.append(failure)

    layer = create_data_layer(database_url, on_write_failure=report)
    metadata: dict[str, Any] = {"number": 10**digits}
    for _ in range(depth):
        metadata = {"in": metadata}
    with pytest.raises(datalayer.InvalidRecord):
        await layer.create_step(step(new_id(), metadata=metadata))
    assert len(failures) == 1
    await layer.close()


async def test_threads_without_a_time_are_listed(empty_database_url: str) -> None:
    layer = create_data_layer(empty_database_url)
    await layer.migrate()
    owner = await user_id(layer, "alice")
    made = [await thread(layer, owner) for _ in range(12)]
    async with layer.database.write() as connection:
        # As in a database of a version without this time.
        undated = update(threads).where(threads.c.id.in_(made[:7]))
        await connection.execute(undated.values(updatedAt=None, createdAt=None))
        await connection.execute(text("DELETE FROM threadkeeper_migrations WHERE name = 'date_threads'"))
    assert await layer.migrate() == ["date_threads"]
    seen: list[str] = []
    after = None
    for _ in range(3):
        found = await page(layer, owner, first=5, after=after)
        seen += [one["id"] for one in found.data]
        after = found.pageInfo.endCursor
    assert sorted(seen) == sorted(made)
    await layer.close()


def test_a_write_spooled_during_a_replay_is_not_lost(tmp_path: Path) -> None:
    ending, starting = Spool(tmp_path / "spool.jsonl"), Spool(tmp_path / "spool.jsonl")
    first, second = (StepDeletion(new_id(), None, True) for _ in range(2))
    ending.append([first])
    taken = starting.take()
    ending.append([second])
    assert first.step_id in taken[0]
    starting.keep([])
    assert second.step_id in starting.take()[0]


async def test_a_value_that_is_not_text_does_not_stop_the_search(layer: ChainlitLayer, engine: str) -> None:
    owner = await user_id(layer, "alice")
    thread_id = await thread(layer, owner)
    if engine == "sqlite":
        async with layer.database.write() as connection:
            row = {"id": new_id(), "name": "", "type": "tool", "threadId": thread_id, "output": "x"}
            await connection.execute(insert(steps).values(**row))
            await connection.execute(text("UPDATE steps SET output = x'ff00' WHERE id = :id"), {"id": row["id"]})
    await layer.create_step(step(thread_id, "a pangolin"))
    assert await listed(layer, owner, search="pangolin") == [thread_id]
