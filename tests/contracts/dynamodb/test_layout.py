"""The items of the table: votes and favourites, the history of votes, deletions, and Chainlit's own layer."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import chainlit as cl
import pytest
from chainlit.context import init_http_context
from chainlit.data.dynamodb import DynamoDBDataLayer
from chainlit.data.storage_clients.s3 import S3StorageClient
from chainlit.types import Feedback, Pagination, ThreadFilter
from chainlit.user import User

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.dynamodb import keys
from datalayer.dynamodb.actions import put, update
from datalayer.dynamodb.client import ATTEMPTS, place_of
from datalayer.dynamodb.items import text_of
from datalayer.dynamodb.tables import EXPIRES
from tests.contracts.dynamodb.items import all_items, kinds
from tests.contracts.dynamodb.test_limits import dynamo
from tests.contracts.test_elements import text_element
from tests.support.faulty_dynamodb import faulty
from tests.support.patience import until
from tests.support.records import listed, new_id, opened, step, thread, user_id, vote


async def test_a_vote_has_one_entry_and_a_history(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"):
        thread_id = await thread(layer, owner)
        written = step(thread_id)
        await layer.create_step(written)
        for value, comment in ((1, "good"), (0, "on second thoughts")):
            kept = await layer.upsert_feedback(vote(written["id"], value, comment))
        entries = [one["SK"]["S"] for one in await all_items(dynamo(layer).table) if one["SK"]["S"].startswith("VOTE#")]
        assert entries == [f"VOTE#0#{written['id']}"]
        assert await layer.delete_feedback(kept)
        assert not await layer.delete_feedback(kept)
        await layer.upsert_feedback(vote(written["id"], 1))
        await layer.set_step_favorite(written, True)
        await layer.delete_step(written["id"])
    items = await all_items(dynamo(layer).table)
    changes = sorted((one for one in items if one["SK"]["S"].startswith("CHANGE#")), key=lambda one: one["SK"]["S"])
    values = [(one.get("value", {}).get("N"), text_of(one, "comment")) for one in changes]
    assert values == [("1", "good"), ("0", "on second thoughts"), (None, None), ("1", None)]
    assert await kinds(dynamo(layer).table) == {"USER": 1, "THREAD": 1, "CHANGE": 4}


async def test_a_thread_with_several_votes_is_listed_once(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"):
        older, newer = await thread(layer, owner), await thread(layer, owner)
        for thread_id in (newer, newer, older):
            written = step(thread_id)
            await layer.create_step(written)
            await layer.upsert_feedback(vote(written["id"], 0))
        assert await listed(layer, owner, feedback=0) == [older, newer]
        await layer.create_step(step(newer))
        assert await listed(layer, owner, feedback=0) == [newer, older], "by last activity, as every list"


async def test_titles_and_texts_are_searched_by_words(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    titled, asked, other = [await thread(layer, owner, name=name) for name in ("Café prices", "b", "c")]
    await layer.create_step(step(asked, "向量数据库的价格 and CAFÉ"))
    await layer.create_step(step(other, "nothing"))
    assert await listed(layer, owner, search="café") == [asked, titled]
    assert await listed(layer, owner, search="数据库 caf") == [asked]
    assert await listed(layer, owner, search="!!!") == []
    assert await listed(layer, owner, search="absent") == []


async def test_a_step_that_is_stored_as_a_favourite_is_listed(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    thread_id = await thread(layer, owner)
    by_system, by_alice = (step(thread_id, metadata={"favorite": True}) for _ in range(2))
    await layer.create_step(by_system)
    with datalayer.acting_as("alice"):
        await layer.create_step(step(thread_id))
        await layer.create_step(by_alice)
        assert [one["id"] for one in await layer.get_favorite_steps(owner)] == [by_alice["id"], by_system["id"]]
        await layer.update_step({**by_system, "metadata": {}})
        assert [one["id"] for one in await layer.get_favorite_steps(owner)] == [by_alice["id"]]


async def test_a_step_of_which_nothing_is_known_is_found_by_its_id_or_by_the_session(
    layer: ChainlitLayer, database_url: str
) -> None:
    thread_id = await thread(layer, await user_id(layer, "alice"))
    first, second, theirs = (step(thread_id) for _ in range(3))
    for one in (first, second, theirs):
        await layer.create_step(one)
    # As Chainlit's own layer writes it.
    bare = update(keys.step_key(thread_id, theirs["id"]), sets={}, removes=["UserThreadPK", "UserThreadSK"])
    await dynamo(layer).table.transact([bare])
    other = datalayer.create_data_layer(database_url)
    with datalayer.acting_as("alice"):
        await other.upsert_feedback(vote(first["id"], 1))
        await other.delete_step(second["id"])
        with pytest.raises(datalayer.NotFound):
            await other.upsert_feedback(vote(theirs["id"], 1))
        init_http_context(thread_id=thread_id)
        await other.upsert_feedback(vote(theirs["id"], 0))
    await other.close()
    found = (await layer.get_thread(thread_id))["steps"]
    assert {one["id"]: one["feedback"]["value"] for one in found} == {first["id"]: 1, theirs["id"]: 0}


@pytest.mark.parametrize("in_background", [False, True])
async def test_a_deletion_that_was_interrupted_goes_on_at_the_next_start_or_in_the_background(
    layer: ChainlitLayer, in_background: bool
) -> None:
    thread_id = new_id()
    table = dynamo(layer).table
    await layer.blobs.put(f"{thread_id}/left", b"x", "text/plain")
    await table.transact([put({**keys.step_key(thread_id, new_id()), "output": {"S": "left"}})])
    mark = {**keys.deleted_key(thread_id), **keys.in_index(keys.DELETIONS, "2026-01-01T00:00:00.000000Z")}
    await table.transact([put(mark)])
    assert await (dynamo(layer).file_deleter._work() if in_background else layer.migrate()) in (True, [])
    assert await kinds(table) == {"DELETED": 1}
    assert [blob.key async for blob in layer.blobs.list()] == []
    await layer.create_step(step(thread_id))
    assert await layer.get_thread(thread_id) is None


@pytest.mark.parametrize("whole_user", [False, True])
async def test_a_deletion_that_was_interrupted_goes_on_when_it_is_repeated(
    database_url: str, tmp_path: Path, whole_user: bool
) -> None:
    layer = datalayer.create_data_layer(database_url, f"file://{tmp_path / 'blobs'}", patience_seconds=0)
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"):
        thread_id = await thread(layer, owner)
        written = step(thread_id)
        await layer.create_step(written)
        with faulty(dynamo(layer).table) as client:
            client.refuse("batch_write_item", "ThrottlingException", times=ATTEMPTS)
            with pytest.raises(datalayer.StorageUnavailable):
                await layer.delete_thread(thread_id)
    with datalayer.acting_as("bob"), pytest.raises(datalayer.NotFound):
        await layer.delete_thread_with_receipt(thread_id)
    assert (await kinds(dynamo(layer).table))["STEP"] == 1
    with datalayer.acting_as("alice"):
        delete = layer.delete_user("alice") if whole_user else layer.delete_thread_with_receipt(thread_id)
        receipt = await delete
        assert (receipt.threads, receipt.row_ids["steps"], receipt.owner) == ((thread_id,), (written["id"],), "alice")
        with pytest.raises(datalayer.NotFound):
            await layer.delete_thread_with_receipt(thread_id)
    (mark,) = [one for one in await all_items(dynamo(layer).table) if one["SK"]["S"] == "DELETED"]
    assert mark.keys() == {"PK", "SK", EXPIRES}
    await layer.close()


async def test_deleting_a_user_waits_for_what_was_queued_before(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"), faulty(dynamo(layer).table) as client:
        client.slow_down("transact_write_items")
        writing = asyncio.create_task(thread(layer, owner))
        await until(lambda: client.calls["transact_write_items"])
        receipt = await layer.delete_user("alice")
        assert receipt.threads == (await writing,)
        assert await listed(layer, owner) == []


async def test_deleting_a_user_leaves_marks_alone(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"):
        for _ in range(3):
            thread_id = await thread(layer, owner)
            written = step(thread_id)
            await layer.create_step(written)
            await layer.upsert_feedback(vote(written["id"], 1))
            await layer.create_element(text_element(thread_id, written["id"], "x"))
    with datalayer.acting_as("bob"), pytest.raises(datalayer.Forbidden):
        await layer.delete_user("alice")
    with datalayer.acting_as("alice"):
        receipt = await layer.delete_user("alice")
        with pytest.raises(datalayer.NotFound):
            await layer.delete_user("alice")
    rows = {"threads": 3, "steps": 3, "elements": 3, "feedbacks": 3, "feedback_changes": 3, "users": 1}
    assert (receipt.rows, len(receipt.files), len(receipt.threads), receipt.files_left) == (rows, 3, 3, ())
    marks = await all_items(dynamo(layer).table)
    assert [one["SK"]["S"] for one in marks] == ["DELETED"] * 3
    assert all(EXPIRES in one and "UserThreadPK" not in one for one in marks)
    assert [blob.key async for blob in layer.blobs.list()] == []


async def test_a_file_stays_with_its_element_if_the_caller_was_cancelled(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, await user_id(layer, "alice"))
    element, stored = text_element(thread_id, new_id(), "kept"), asyncio.Event()
    with faulty(dynamo(layer).table) as client:
        client.hold("transact_write_items", stored)
        caller = asyncio.create_task(layer.create_element(element))
        await until(lambda: client.calls["transact_write_items"])
        caller.cancel()
        await asyncio.wait([caller])
        stored.set()
        await layer.settled(thread_id)
    assert (await kinds(dynamo(layer).table))["FILE"] == 1, "the caller gave it up"
    assert await dynamo(layer).file_deleter._work()
    kept = await opened(layer, thread_id, element.id)
    assert kept is not None and kept[1] == b"kept"
    assert await kinds(dynamo(layer).table) == {"USER": 1, "THREAD": 1, "ELEMENT": 1}


async def test_nobody_else_reads_or_changes_a_thread(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    await user_id(layer, "alice#1")
    with datalayer.acting_as("alice"):
        thread_id = await thread(layer, owner)
        written = step(thread_id, metadata={"favorite": True})
        await layer.create_step(written)
        await layer.set_step_favorite(written, True)
        element = text_element(thread_id, written["id"], "x")
        await layer.create_element(element)
        kept = await layer.upsert_feedback(vote(written["id"], 1))
    before = await all_items(dynamo(layer).table)
    refused = (datalayer.Forbidden, datalayer.NotFound)
    for actor in ("bob", "alice#1", None):
        with datalayer.acting_as(actor):
            assert await layer.get_thread(thread_id) is None
            assert await layer.get_thread_head(thread_id) is None
            assert await layer.get_thread_author(thread_id) == ""
            assert await layer.get_element(thread_id, element.id) is None
            assert await listed(layer, owner) == await listed(layer, owner, feedback=1) == []
            assert await layer.get_favorite_steps(owner) == []
            for call in (
                layer.update_thread(thread_id, name="mine"),
                layer.update_thread(thread_id, user_id=actor or "bob"),
                layer.replace_thread_name(thread_id, "a thread", "mine"),
                layer.create_step(step(thread_id)),
                layer.update_step({**written, "output": "changed"}),
                layer.delete_step(written["id"]),
                layer.cut_thread(thread_id, written["id"]),
                layer.set_step_favorite(written, False),
                layer.upsert_feedback(vote(written["id"], 0)),
                layer.delete_feedback(kept),
                layer.create_element(text_element(thread_id, written["id"], "planted")),
                layer.create_element(cl.Image(thread_id=thread_id, name="planted", url="https://example.org/x")),
                layer.delete_element(element.id, thread_id),
                layer.delete_thread(thread_id),
                layer.delete_thread_with_receipt(thread_id),
            ):
                with pytest.raises(refused):
                    await call
    assert await all_items(dynamo(layer).table) == before


async def test_a_method_that_needs_sql_says_so(layer: ChainlitLayer) -> None:
    with pytest.raises(AttributeError, match="'usage_totals' is not in the data layer of DynamoDB"):
        _ = layer.usage_totals


async def test_a_table_of_chainlits_own_layer_is_read_and_stays_readable_by_it(
    layer: ChainlitLayer, database_url: str, tables_client: Any
) -> None:
    files = S3StorageClient("no-bucket", region_name="eu-central-1")
    theirs = DynamoDBDataLayer(place_of(database_url).table, client=tables_client, storage_provider=files)
    thread_id = new_id()
    init_http_context(thread_id=thread_id)
    await theirs.create_user(User(identifier="alice", metadata={"role": "user"}))
    await theirs.update_thread(thread_id, name="theirs", user_id="alice", metadata={"a": 1}, tags=["x"])
    old = step(
        thread_id, "written by Chainlit", createdAt="2026-01-01T00:00:00Z", generation={"tokenCount": 3, "cost": 0.5}
    )
    await theirs.create_step(cast(Any, old))
    await theirs.upsert_feedback(Feedback(forId=old["id"], threadId=thread_id, value=1, comment="fine"))

    owner = await layer.create_user(User(identifier="alice", metadata={"more": 2}))
    assert (owner.id, owner.metadata) == ("alice", {"role": "user", "more": 2})
    with datalayer.acting_as("alice"):
        found = await layer.get_thread(thread_id)
        assert (found["name"], found["metadata"], found["tags"], found["userIdentifier"]) == (
            "theirs",
            {"a": 1},
            ["x"],
            "alice",
        )
        assert {name: found["steps"][0][name] for name in old} == old
        assert found["steps"][0]["feedback"]["comment"] == "fine"
        assert await listed(layer, "alice") == [thread_id]
        await layer.update_thread(thread_id, name="ours", metadata={"b": 2})
        new = step(thread_id, "written here", metadata={"n": 1.5})
        await layer.create_step(new)
        await layer.upsert_feedback(vote(new["id"], 0, "no"))
        await layer.create_element(cl.Image(thread_id=thread_id, name="shown", url="https://example.org/x"))
        await layer.update_step({**new, "output": "long " * 20_000})
        await theirs.update_step(cast(Any, {**new, "output": "shortened by Chainlit"}))
        assert (await layer.get_thread(thread_id))["steps"][1]["output"] == "shortened by Chainlit"
        second = new_id()
        await layer.create_step(step(second))
        gone = await thread(layer, "alice")
        await layer.delete_thread(gone)

    read: Mapping[str, Any] = cast(Any, await theirs.get_thread(thread_id))
    assert (read["name"], read["metadata"]) == ("ours", {"a": 1, "b": 2})
    assert [one["output"] for one in read["steps"]] == ["written by Chainlit", "shortened by Chainlit"]
    assert read["steps"][1]["feedback"]["value"] == 0
    assert await theirs.get_thread_author(second) == "alice"
    assert await theirs.get_thread(gone) is None
    page = await theirs.list_threads(Pagination(first=10), ThreadFilter(userId="alice"))
    assert [one["id"] for one in page.data] == [second, thread_id]
    # The entries by which votes are found are not theirs, so they may be out of date.
    await theirs.upsert_feedback(Feedback(forId=new["id"], threadId=thread_id, value=1))
    assert await listed(layer, "alice", feedback=0) == []
    found_user = await theirs.get_user("alice")
    assert found_user is not None
    assert found_user.metadata == {"role": "user", "more": 2}
    assert await theirs.delete_feedback(read["steps"][1]["feedback"]["id"])
