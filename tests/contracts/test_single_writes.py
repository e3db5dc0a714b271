"""A write that is one statement on Postgres: beside concurrent writers, repeated, and among other writes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from chainlit.user import User
from sqlalchemy import func, insert, select

import datalayer
from datalayer import create_data_layer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import hashed_id, utc_now
from datalayer.records.chat import Feedback
from datalayer.records.writes import VoteRemoval, VoteWrite
from datalayer.schema.chat import blob_deletions, elements, feedback_changes, feedbacks, steps, threads, users
from datalayer.schema.review import review_pending
from tests.contracts.test_elements import text_element
from tests.support.patience import PATIENCE_SECONDS
from tests.support.postgres import Databases
from tests.support.records import new_id, step, thread, user_id, vote

WAIT_SECONDS = 0.3


@pytest.fixture
def own_database(postgres: Databases, migrated_postgres: str) -> Iterator[str]:
    url = postgres.create(migrated_postgres)
    yield url
    postgres.drop(url)


@pytest.fixture
async def postgres_layer(own_database: str, tmp_path: Path) -> AsyncIterator[ChainlitLayer]:
    layer = create_data_layer(own_database, blobs=f"file://{tmp_path / 'files'}")
    yield layer
    await layer.close()


@pytest.fixture
async def other(own_database: str) -> AsyncIterator[Any]:
    """A connection of another process."""
    connection = await asyncpg.connect(own_database)
    yield connection
    await connection.close()


async def rows(layer: ChainlitLayer, table: Any, **where: Any) -> list[Any]:
    chosen = select(table).where(*(table.c[name] == value for name, value in where.items()))
    async with layer.database.read() as connection:
        return list((await connection.execute(chosen)).mappings())


async def test_a_vote_that_is_applied_twice_has_one_history_row(layer: ChainlitLayer) -> None:
    written = step(await thread(layer, await user_id(layer, "alice")))
    await layer.create_step(written)
    cast = VoteWrite(Feedback(new_id(), written["id"], 1, comment="good 🧵"), utc_now(), "alice", system=False)
    # As when the connection is lost before the answer comes, or when a spooled write was stored after all.
    kept = [await layer._writer.submit(cast) for _ in range(2)]
    withdrawn = VoteRemoval(kept[0], utc_now(), "alice", system=False)
    assert [await layer._writer.submit(withdrawn) for _ in range(2)] == [True, True]
    assert not await layer.delete_feedback(kept[0])
    assert kept == [cast.vote.id] * 2
    found = {row["id"]: (row["value"], row["comment"]) for row in await rows(layer, feedback_changes)}
    # The same ids on both engines.
    assert found == {
        hashed_id(f"{kept[0]} {cast.moment} 1"): (1, "good 🧵"),
        hashed_id(f"{kept[0]} {withdrawn.moment} None"): (None, None),
    }
    assert len(await rows(layer, review_pending, threadId=written["threadId"])) >= 3


async def test_a_changed_vote_that_is_applied_twice_has_one_history_row(layer: ChainlitLayer) -> None:
    written = step(await thread(layer, await user_id(layer, "alice")))
    await layer.create_step(written)
    first, changed = (
        VoteWrite(Feedback(new_id(), written["id"], value), utc_now(), "alice", system=False) for value in (1, 0)
    )
    kept = [await layer._writer.submit(one) for one in (first, changed, changed)]
    assert kept == [first.vote.id] * 3
    # The vote keeps its first id; the write of the change has another, which each of its attempts gives again.
    found = [(row["id"], row["feedbackId"], row["value"]) for row in await rows(layer, feedback_changes)]
    assert sorted(found) == sorted(
        (hashed_id(f"{one.vote.id} {one.moment} {one.vote.value}"), first.vote.id, one.vote.value)
        for one in (first, changed)
    )


async def test_an_update_that_waits_for_another_process_to_make_its_thread_changes_that_thread(
    postgres_layer: ChainlitLayer, other: Any
) -> None:
    layer, thread_id = postgres_layer, new_id()
    await user_id(layer, "alice")
    making = other.transaction()
    await making.start()
    await other.execute(
        """INSERT INTO threads (id, name, "userIdentifier", metadata) VALUES ($1, 'theirs', 'alice', '{"a": 1}')""",
        thread_id,
    )
    with datalayer.acting_as("alice"):
        update = asyncio.create_task(layer.update_thread(thread_id, metadata={"b": 2, "a": None}))
        await asyncio.sleep(WAIT_SECONDS)
        assert not update.done()
        await making.commit()
        await update
    (row,) = await rows(layer, threads)
    assert (row["name"], row["metadata"]) == ("theirs", {"b": 2})


async def test_writes_among_others_are_refused_alone(layer: ChainlitLayer) -> None:
    alice = await user_id(layer, "alice")
    written, foreign = step(await thread(layer, alice)), step(await thread(layer, await user_id(layer, "bob")))
    for one in (written, foreign):
        await layer.create_step(one)
    kept, planted = (text_element(one["threadId"], one["id"], "kept") for one in (written, foreign))
    with datalayer.acting_as("alice"):
        results = await asyncio.gather(
            layer.upsert_feedback(vote(written["id"], 1)),
            layer.upsert_feedback(vote(foreign["id"], 1)),
            layer.set_step_favorite(written, True),
            layer.set_step_favorite(foreign, True),
            layer.set_step_favorite(step(written["threadId"]), True),
            layer.create_element(kept),
            layer.create_element(planted),
            layer.update_thread(written["threadId"], metadata={"key": 1}),
            layer.delete_thread(foreign["threadId"]),
            layer.delete_step(foreign["id"]),
            return_exceptions=True,
        )
        found = await layer.get_thread(written["threadId"])
    kinds = [type(result) for result in results if isinstance(result, Exception)]
    assert kinds == [
        datalayer.NotFound,
        datalayer.Forbidden,
        datalayer.NotFound,
        *[datalayer.Forbidden] * 3,
    ]
    (kept_step,) = found["steps"]
    assert (kept_step["feedback"]["value"], kept_step["metadata"]) == (1, {"favorite": True})
    assert ([one["id"] for one in found["elements"]], found["metadata"]) == ([kept.id], {"key": 1})
    assert [one["feedback"] for one in (await layer.get_thread(foreign["threadId"]))["steps"]] == [None]


async def test_two_processes_store_a_new_user_once(layer: ChainlitLayer, database_url: str) -> None:
    others = [create_data_layer(database_url) for _ in range(3)]
    for number in range(10):
        names = (f"Ada {number}", f"ada {number}")
        made = await asyncio.gather(
            *(
                one.create_user(User(identifier=names[at % 2], metadata={str(at): number}))
                for at, one in enumerate([layer, *others])
            )
        )
        assert len({one.id for one in made}) == 1
    async with layer.database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(users))).scalar() == 10
        found = (await connection.execute(select(users.c.metadata))).scalars().all()
    assert all(set(one) == {"0", "1", "2", "3"} for one in found)
    for one in others:
        await one.close()


async def test_an_element_that_was_stored_while_a_deletion_waited_loses_its_file(
    postgres_layer: ChainlitLayer, other: Any
) -> None:
    layer = postgres_layer
    thread_id, key = await thread(layer, None), "a/file"
    await layer.blobs.put(key, b"x", "text/plain")
    writing = other.transaction()
    await writing.start()
    await other.execute(
        """INSERT INTO elements (id, "threadId", name, "objectKey") VALUES ($1, $2, '', $3)""", new_id(), thread_id, key
    )
    deletion = asyncio.create_task(layer.delete_thread(thread_id))
    await asyncio.sleep(WAIT_SECONDS)
    assert not deletion.done()
    await writing.commit()
    await deletion
    with pytest.raises(datalayer.BlobNotFound):
        await layer.blobs.read(key)
    for table in (elements, threads, blob_deletions):
        assert await rows(layer, table) == []


async def test_writes_that_waited_for_a_deletion_find_no_thread(postgres_layer: ChainlitLayer, other: Any) -> None:
    layer = postgres_layer
    written = step(await thread(layer, None))
    await layer.create_step(written)
    kept = await layer.upsert_feedback(vote(written["id"], 1))
    deleting = other.transaction()
    await deleting.start()
    await other.execute("SELECT FROM threads WHERE id = $1 FOR UPDATE", written["threadId"])
    calls = {
        "vote": layer.upsert_feedback(vote(written["id"], 0)),
        "withdrawal": layer.delete_feedback(kept),
        "step": layer.delete_step(written["id"]),
    }
    tasks = {name: asyncio.create_task(call) for name, call in calls.items()}
    await asyncio.sleep(WAIT_SECONDS)
    assert not any(task.done() for task in tasks.values())
    # None of them holds a row that the deletion needs: otherwise this is a deadlock.
    async with asyncio.timeout(PATIENCE_SECONDS):
        await other.execute("DELETE FROM feedbacks")
        await other.execute("DELETE FROM threads WHERE id = $1", written["threadId"])
        await deleting.commit()
    with pytest.raises(datalayer.NotFound):
        await tasks["vote"]
    assert await tasks["withdrawal"] is False
    await tasks["step"]
    for table in (steps, feedbacks, feedback_changes):
        assert await rows(layer, table) == []


async def test_a_deletion_that_fails_leaves_the_connection_usable(postgres_layer: ChainlitLayer, other: Any) -> None:
    layer = postgres_layer
    thread_id = await thread(layer, None)
    await other.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE check_violation; END $$"
    )
    await other.execute("CREATE TRIGGER kept BEFORE DELETE ON threads FOR EACH ROW EXECUTE FUNCTION refuse()")
    with pytest.raises(datalayer.InvalidRecord):
        await layer.delete_thread(thread_id)
    await layer.create_step(step(thread_id))
    await layer.update_thread(thread_id, name="still there")
    assert len((await layer.get_thread(thread_id))["steps"]) == 1
    await other.execute("DROP TRIGGER kept ON threads")
    await layer.delete_thread(thread_id)
    assert await rows(layer, threads) == []


async def test_a_file_that_a_row_in_another_transaction_names_is_queued_with_its_successor(
    postgres_layer: ChainlitLayer, other: Any
) -> None:
    """Two processes store the same element: each file but the last one is deleted."""
    layer = postgres_layer
    thread_id = await thread(layer, None)
    element = text_element(thread_id, new_id(), "first")
    await layer.create_element(element)
    await layer.blobs.put("of/another", b"x", "text/plain")
    writing = other.transaction()
    await writing.start()
    await other.execute('UPDATE elements SET "objectKey" = $1', "of/another")
    storing = asyncio.create_task(layer.create_element(element))
    await asyncio.sleep(WAIT_SECONDS)
    await writing.commit()
    await storing
    with pytest.raises(datalayer.BlobNotFound):
        await layer.blobs.read("of/another")
    (row,) = await rows(layer, elements)
    assert await layer.blobs.read(row["objectKey"]) == b"first"


async def test_an_element_without_its_thread_is_deleted_with_the_step_of_the_thread(layer: ChainlitLayer) -> None:
    written = step(await thread(layer, None))
    await layer.create_step(written)
    async with layer.database.write() as connection:
        # As Chainlit's own layer stored elements before it knew the thread.
        await connection.execute(insert(elements).values(id=new_id(), name="", forId=written["id"], objectKey="a/key"))
    await layer.delete_thread(written["threadId"])
    assert await rows(layer, elements) == []
