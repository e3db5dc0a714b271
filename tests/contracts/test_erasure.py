"""A receipt lists exactly the rows and files that a deletion deleted."""

from collections.abc import Collection
from typing import Any

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

import datalayer
from datalayer import create_data_layer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.history import file_outbox
from datalayer.history.deletion import remove_threads
from datalayer.schema.chat import Identifier, deleted_threads, elements, metadata, threads
from tests.contracts.test_elements import text_element
from tests.support.patience import until
from tests.support.records import new_id, step, thread, user_id, vote, without_search


async def rows(layer: ChainlitLayer) -> dict[str, int]:
    async with layer.database.read() as connection:
        found = {
            table.name: (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in metadata.sorted_tables
        }
    return without_search(found)


async def talk(layer: ChainlitLayer, identifier: str) -> tuple[str, str]:
    """A thread with a step, a changed vote and a file; returns its id and the key of the file."""
    owner = await user_id(layer, identifier)
    with datalayer.acting_as(identifier):
        thread_id = await thread(layer, owner)
        written = step(thread_id)
        await layer.create_step(written)
        await layer.upsert_feedback(vote(written["id"], 0))
        await layer.upsert_feedback(vote(written["id"], 1, "good"))
        await layer.create_element(text_element(thread_id, written["id"], "a file"))
        found = await layer.get_thread(thread_id)
    return thread_id, found["elements"][0]["objectKey"]


async def ids(layer: ChainlitLayer) -> dict[str, set[str]]:
    """The ids of all rows, of tables with a column `id`, without the marks of deleted threads."""
    named = [table for table in metadata.sorted_tables if "id" in table.c and table.c.id.type is Identifier]
    named.remove(deleted_threads)
    async with layer.database.read() as connection:
        return {table.name: set((await connection.execute(select(table.c.id))).scalars()) for table in named}


@pytest.mark.parametrize("what", ["thread", "user"])
async def test_a_receipt_lists_every_deleted_row(layer: ChainlitLayer, what: str) -> None:
    await talk(layer, "bob")
    thread_id, _ = await talk(layer, "alice")
    before = await ids(layer)
    receipt = await (layer.delete_user("alice") if what == "user" else layer.delete_thread_with_receipt(thread_id))
    after = await ids(layer)
    assert {name: set(gone) for name, gone in receipt.row_ids.items()} == {
        name: before[name] - after[name] for name in receipt.row_ids
    }
    assert all(after[name] == before[name] for name in before.keys() - receipt.row_ids.keys())
    assert {name: len(gone) for name, gone in receipt.row_ids.items()}.items() <= receipt.rows.items()


async def test_the_receipt_of_a_thread_counts_the_deleted_rows(layer: ChainlitLayer) -> None:
    await talk(layer, "bob")
    before = await rows(layer)
    thread_id, key = await talk(layer, "alice")
    with datalayer.acting_as("alice"):
        receipt = await layer.delete_thread_with_receipt(thread_id)
    counts = {"threads": 1, "steps": 1, "elements": 1, "feedbacks": 1, "feedback_changes": 2}
    assert {name: count for name, count in without_search(receipt.rows).items() if count} == counts
    assert (receipt.what, receipt.id, receipt.owner, receipt.deleted_by) == ("thread", thread_id, "alice", "alice")
    assert (receipt.files, receipt.files_left, receipt.threads) == ((key,), (), (thread_id,))
    assert receipt.deleted_at.endswith("Z")
    assert await rows(layer) == before | {"users": 2}
    with pytest.raises(datalayer.BlobNotFound):
        await layer.blobs.read(key)
    with pytest.raises(datalayer.NotFound):
        await layer.delete_thread_with_receipt(thread_id)


async def test_the_receipt_of_a_user_counts_only_that_users_deleted_rows(layer: ChainlitLayer) -> None:
    bobs, bobs_key = await talk(layer, "bob")
    before = await rows(layer)
    await layer.add_account("alice", "no real hash")
    talks = [await talk(layer, "alice") for _ in range(3)]
    everything = await rows(layer)
    receipt = await layer.delete_user("alice")
    counts = without_search(receipt.rows)
    assert counts == {name: everything[name] - before[name] for name in counts}
    assert (receipt.rows["users"], receipt.rows["credentials"], receipt.rows["threads"]) == (1, 1, 3)
    assert await rows(layer) == before
    assert set(receipt.files) == {key for _, key in talks}
    assert receipt.threads == tuple(sorted(thread_id for thread_id, _ in talks))
    assert (receipt.what, receipt.owner, receipt.deleted_by) == ("user", "alice", None)
    assert await layer.blobs.read(bobs_key) == b"a file"
    assert (await layer.get_thread(bobs))["steps"]
    assert await layer.get_user("alice") is None
    with pytest.raises(datalayer.NotFound):
        await layer.delete_user("alice")


async def test_deleting_a_user_deletes_votes_in_other_threads(layer: ChainlitLayer) -> None:
    thread_id, _ = await talk(layer, "bob")
    step_id = (await layer.get_thread(thread_id))["steps"][0]["id"]
    voter = await user_id(layer, "alice")
    async with layer.database.write() as connection:
        values = {"id": new_id(), "forId": step_id, "threadId": thread_id, "value": 1, "userId": voter}
        await connection.execute(insert(metadata.tables["feedbacks"]).values(**values))
    receipt = await layer.delete_user("alice")
    assert {name: count for name, count in without_search(receipt.rows).items() if count} == {
        "feedbacks": 1,
        "users": 1,
    }
    assert (await rows(layer))["feedbacks"] == 1


async def test_a_thread_that_an_open_page_began_after_the_deletion_can_be_deleted(layer: ChainlitLayer) -> None:
    await talk(layer, "alice")
    await layer.delete_user("alice")
    with datalayer.acting_as("alice"):
        await layer.create_step(step(new_id()))
    receipt = await layer.delete_user("alice")
    assert (receipt.id, receipt.rows["threads"], receipt.rows["steps"]) == (None, 1, 1)
    assert {name for name, count in (await rows(layer)).items() if count} == {"threadkeeper_migrations"}


async def test_late_writes_do_not_restore_threads_of_a_deleted_user(layer: ChainlitLayer) -> None:
    thread_id, _ = await talk(layer, "alice")
    await layer.delete_user("alice")
    with datalayer.acting_as("alice"):
        await layer.create_step(step(thread_id))
    assert await layer.get_thread(thread_id) is None


async def test_a_refused_deletion_deletes_nothing(layer: ChainlitLayer) -> None:
    thread_id, key = await talk(layer, "alice")
    before = await rows(layer)
    with datalayer.acting_as("bob"):
        for deletion in (layer.delete_user("alice"), layer.delete_thread_with_receipt(thread_id)):
            with pytest.raises(datalayer.Forbidden):
                await deletion
    assert await rows(layer) == before
    assert await layer.blobs.read(key) == b"a file"
    await layer.create_step(step(thread_id))
    assert len((await layer.get_thread(thread_id))["steps"]) == 2


async def test_a_receipt_names_a_file_that_could_not_be_deleted(layer: ChainlitLayer) -> None:
    thread_id, _ = await talk(layer, "alice")
    async with layer.database.write() as connection:
        # The store refuses a key that is not valid.
        await connection.execute(elements.update().values(objectKey="../outside"))
    receipt = await layer.delete_thread_with_receipt(thread_id)
    assert (receipt.files, receipt.files_left) == ((), ("../outside",))
    assert (await rows(layer))["elements"] == 0


async def test_a_file_whose_last_row_is_deleted_while_it_counts_as_used_is_not_forgotten(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id, key = await talk(layer, "alice")
    in_use = file_outbox.in_use

    async def delete_then(connection: AsyncConnection, keys: Collection[str]) -> set[str]:
        used = await in_use(connection, keys)
        async with layer.database.write() as writing:
            # Of a process that ends before it deletes the file.
            await remove_threads(writing, threads.c.id == thread_id)
        return used

    with monkeypatch.context() as patch:
        patch.setattr(file_outbox, "in_use", delete_then)
        assert (await layer.file_deleter.delete([key], thread_id)).deleted == []
    assert (await rows(layer))["blob_deletions"] == 1
    layer.file_deleter.note()

    async def is_deleted() -> bool:
        return (await rows(layer))["blob_deletions"] == 0

    await until(is_deleted)
    with pytest.raises(datalayer.BlobNotFound):
        await layer.blobs.read(key)


async def test_deleting_a_step_deletes_its_elements_without_a_thread(layer: ChainlitLayer) -> None:
    thread_id, _ = await talk(layer, "alice")
    step_id = (await layer.get_thread(thread_id))["steps"][0]["id"]
    loose: Any = text_element(thread_id, step_id, "loose")
    loose.thread_id = None
    await layer.create_element(loose)
    receipt = await layer.delete_thread_with_receipt(thread_id)
    assert receipt.rows["elements"] == len(receipt.files) == 2


async def test_without_a_blob_store_the_receipt_lists_the_remaining_files(
    database_url: str, layer: ChainlitLayer
) -> None:
    thread_id, key = await talk(layer, "alice")
    other = create_data_layer(database_url)
    receipt = await other.delete_thread_with_receipt(thread_id)
    await other.close()
    assert receipt.files_left == (key,)
