"""Metadata, `props` and comments that are longer than an item of DynamoDB: their large keys are files."""

import asyncio
from pathlib import Path
from typing import Any

import chainlit as cl
import pytest
from chainlit.data.dynamodb import DynamoDBDataLayer

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from tests.contracts.dynamodb.items import all_items, kinds
from tests.contracts.dynamodb.test_limits import blobs_of, dynamo, only_step
from tests.contracts.dynamodb.test_to_sql import copied, problems
from tests.contracts.dynamodb.test_to_table import moved
from tests.support.faulty_dynamodb import faulty
from tests.support.records import listed, new_id, page, step, thread, user_id, vote

LONG = "long 工具 " * 60_000
"""720 KB: more than an item may have."""
MANY = {f"key {number}": str(number % 10) * 1000 for number in range(500)}
"""500 KB in keys that are not long each."""


def custom_element(thread_id: str, for_id: str, props: dict[str, Any]) -> Any:
    element = cl.CustomElement(name="Table", props=props, thread_id=thread_id, display="inline")
    element.for_id = for_id
    return element


async def test_metadata_of_a_thread_are_changed_key_by_key_whatever_their_length(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"):
        thread_id = await thread(layer, owner, metadata={"long": LONG, "short": 1, "is_shared": True})

        async def metadata() -> Any:
            head, whole = await layer.get_thread_head(thread_id), await layer.get_thread(thread_id)
            (in_list,) = (await page(layer, owner)).data
            assert head is not None
            assert head["metadata"] == whole["metadata"] == dict(in_list)["metadata"]
            return whole["metadata"]

        assert await metadata() == {"long": LONG, "short": 1, "is_shared": True}
        await layer.update_thread(thread_id, metadata={"short": 2, "more": "x"})
        assert await metadata() == {"long": LONG, "short": 2, "more": "x", "is_shared": True}
        await layer.update_thread(thread_id, metadata={"long": LONG + "b", "other": LONG})
        assert await metadata() == {"long": LONG + "b", "other": LONG, "short": 2, "more": "x", "is_shared": True}
        assert len(await blobs_of(layer)) == 1, "the text that was replaced is deleted"
        with datalayer.acting_as("bob"):
            assert (await layer.get_thread(thread_id))["metadata"]["short"] == 2, "who may read needs no file"
        await layer.update_thread(thread_id, metadata={"long": None, "is_shared": None})
        assert await metadata() == {"other": LONG, "short": 2, "more": "x"}
        await layer.update_thread(thread_id, metadata={"other": "short again", **MANY})
        assert await metadata() == {"other": "short again", "short": 2, "more": "x", **MANY}
        await asyncio.gather(
            *(layer.update_thread(thread_id, metadata={f"part {number}": "y" * 40_000}) for number in range(12))
        )
        assert set(await metadata()) == {"other", "short", "more", *MANY, *(f"part {number}" for number in range(12))}
        await layer.update_thread(thread_id, metadata=dict.fromkeys([*MANY, *(f"part {n}" for n in range(12))]))
        assert await metadata() == {"other": "short again", "short": 2, "more": "x"}
        assert await blobs_of(layer) == []
        await layer.update_thread(thread_id, metadata={"long": LONG})
        (key,) = await blobs_of(layer)
        receipt = await layer.delete_thread_with_receipt(thread_id)
    assert (receipt.files, receipt.rows["threads"], await blobs_of(layer)) == ((key,), 1, [])
    (mark,) = [one for one in await all_items(dynamo(layer).table) if one["SK"]["S"] == "DELETED"]
    assert not [name for name in mark if name.startswith("tk:long")]


async def test_two_processes_change_long_metadata_at_once(
    layer: ChainlitLayer, database_url: str, tmp_path: Path
) -> None:
    """A process knows nothing of the long keys that another one has stored since."""
    thread_id = await thread(layer, None, metadata={"a": "short"})
    other = datalayer.create_data_layer(database_url, f"file://{tmp_path / 'blobs'}")
    await other.update_thread(thread_id, metadata={"a": LONG, "b": LONG})
    await layer.update_thread(thread_id, metadata={"a": None})
    assert (await layer.get_thread(thread_id))["metadata"] == {"b": LONG}
    await asyncio.gather(
        layer.update_thread(thread_id, metadata={"c": LONG}), other.update_thread(thread_id, metadata={"d": LONG})
    )
    assert (await layer.get_thread(thread_id))["metadata"] == dict.fromkeys("bcd", LONG)
    await other.close()


async def test_props_of_an_element_are_read_replaced_and_deleted(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None)
    written = step(thread_id)
    await layer.create_step(written)
    element = custom_element(thread_id, written["id"], {"rows": LONG, "title": "t"})
    await layer.create_element(element)

    async def props() -> Any:
        one = await layer.get_element(thread_id, element.id)
        (other,) = (await layer.get_thread(thread_id))["elements"]
        assert one is not None
        assert one["props"] == other["props"]
        return other["props"]

    assert await props() == {"rows": LONG, "title": "t"}
    older = await blobs_of(layer)
    element.props = {"rows": LONG + "b", **MANY}
    await layer.create_element(element)
    assert await props() == {"rows": LONG + "b", **MANY}
    newer = await blobs_of(layer)
    assert not set(older) & set(newer)
    element.props = {"title": "short"}
    await layer.create_element(element)
    assert (await props(), [one for one in await blobs_of(layer) if "/text-" in one]) == ({"title": "short"}, [])
    element.props = {"rows": LONG}
    await layer.create_element(element)
    await layer.delete_element(element.id, thread_id)
    assert (await blobs_of(layer), await kinds(dynamo(layer).table)) == ([], {"THREAD": 1, "STEP": 1})
    await layer.create_element(element)
    await layer.delete_step(written["id"])
    assert (await blobs_of(layer), await kinds(dynamo(layer).table)) == ([], {"THREAD": 1})


async def test_a_long_comment_stays_as_long_as_its_history(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"):
        thread_id = await thread(layer, owner)
        written = step(thread_id, "x" * 40_000, mood="y" * 40_000)
        await layer.create_step(written)
        cast = await layer.upsert_feedback(vote(written["id"], 0, LONG))
        assert (await only_step(layer, thread_id))["feedback"]["comment"] == LONG
        assert await listed(layer, owner, feedback=0) == [thread_id]
        # Another vote in place of it, by Chainlit's own layer too, has none of the long comment.
        await layer.upsert_feedback(vote(written["id"], 1, "short"))
        assert (await only_step(layer, thread_id))["feedback"]["comment"] == "short"
        assert len(await blobs_of(layer)) == 1, "the record of the change names it"
        await layer.upsert_feedback(vote(written["id"], 0, LONG))
        assert await layer.delete_feedback(cast)
        assert (await only_step(layer, thread_id))["feedback"] is None
        await layer.upsert_feedback(vote(written["id"], 0, LONG))
        kept = await blobs_of(layer)
        await layer.delete_step(written["id"])
        assert await blobs_of(layer) == kept
        changes = [one for one in await all_items(dynamo(layer).table) if one["SK"]["S"].startswith("CHANGE#")]
        assert len(changes) == 5
        # When they are due, they are named all the same.
        await dynamo(layer).file_deleter.queue(kept, thread_id, utc_now())
        assert await dynamo(layer).file_deleter._work()
        assert await blobs_of(layer) == kept
        receipt = await layer.delete_thread_with_receipt(thread_id)
    assert (set(receipt.files), await blobs_of(layer)) == (set(kept), [])


async def test_a_comment_whose_answer_was_lost_is_stored_once(layer: ChainlitLayer) -> None:
    written = step(new_id())
    await layer.create_step(written)
    with faulty(dynamo(layer).table) as client:
        client.lose_answers("transact_write_items", times=2)
        await layer.upsert_feedback(vote(written["id"], 1, LONG))
    assert (await only_step(layer, written["threadId"]))["feedback"]["comment"] == LONG
    queued = [one for one in await all_items(dynamo(layer).table) if one["SK"]["S"].startswith("FILE#")]
    assert len(queued) == 1, "the file of the first attempt is deleted after a week, if nothing names it"
    assert queued[0]["UserThreadSK"]["S"] > f"TS#{utc_now()}"


async def test_a_step_is_a_favourite_although_its_metadata_are_long(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"):
        written = step(await thread(layer, owner), metadata={"favorite": True, "long": LONG})
        await layer.create_step(written)
        (found,) = await layer.get_favorite_steps(owner)
    assert found["metadata"] == {"favorite": True, "long": LONG}


async def test_chainlits_own_layer_reads_what_is_not_long(layer: ChainlitLayer, tables_client: Any) -> None:
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"):
        thread_id = await thread(layer, owner, metadata={"long": LONG, "short": 1})
        written = step(thread_id)
        await layer.create_step(written)
        await layer.upsert_feedback(vote(written["id"], 1, LONG))
        element = custom_element(thread_id, written["id"], {"rows": LONG, "title": "t"})
        await layer.create_element(element)
    theirs = DynamoDBDataLayer(dynamo(layer).table.place.table, client=tables_client)
    found: Any = await theirs.get_thread(thread_id)
    assert found["metadata"] == {"short": 1}
    assert found["elements"][0]["props"] == {"title": "t"}
    (kept,) = found["steps"]
    assert (kept["feedback"]["value"], kept["feedback"]["comment"]) == (1, LONG[:2000])
    # What it replaces is replaced, and not mixed with what was there.
    await theirs.upsert_feedback(cl.types.Feedback(forId=written["id"], threadId=thread_id, value=0, comment="bad"))
    with datalayer.acting_as("alice"):
        assert (await only_step(layer, thread_id))["feedback"]["comment"] == "bad"


async def test_long_records_move_to_sql_and_back(layer: ChainlitLayer, sql: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"):
        thread_id = await thread(layer, owner, metadata={"long": LONG, "short": 1})
        written = step(thread_id)
        await layer.create_step(written)
        await layer.upsert_feedback(vote(written["id"], 1, LONG))
        await layer.create_element(custom_element(thread_id, written["id"], {"rows": LONG, **MANY}))
        before = await layer.get_thread(thread_id)
    report = await copied(layer, sql)
    # Of the thread, the element, the step and the change of its vote.
    assert (problems(report), report.findings, report.long_texts.found) == ({}, {}, 4)
    with datalayer.acting_as("alice"):
        there = await sql.get_thread(thread_id)
    assert there["metadata"] == before["metadata"]
    assert there["elements"][0]["props"] == before["elements"][0]["props"]
    assert there["steps"][0]["feedback"]["comment"] == LONG

    # Their files have other names in a move, and are the same.
    blobs = await blobs_of(layer)
    dry = await moved(sql, layer, apply=False)
    assert (problems(dry), dry.findings, dry.long_texts.found) == ({}, {}, 4)
    assert {name: (one.stored, one.replaced) for name, one in dry.kinds().items() if one.stored or one.replaced} == {
        # A vote of SQL has an id of its own there.
        "steps": (0, 1),
    }
    again = await moved(sql, layer)
    assert (problems(again), again.findings) == ({}, {})
    with datalayer.acting_as("alice"):
        assert await layer.get_thread(thread_id) == before
        assert set(blobs) <= set(await blobs_of(layer))
        receipt = await layer.delete_thread_with_receipt(thread_id)
    assert (await blobs_of(layer), receipt.files_left) == ([], ())


async def test_a_long_record_without_a_blob_store_is_refused(database_url: str, layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None, metadata={"long": LONG, "short": 1})
    without = datalayer.create_data_layer(database_url)
    with pytest.raises(datalayer.InvalidRecord, match="blobs"):
        await without.update_thread(thread_id, metadata={"short": 2, "other": LONG})
    with pytest.raises(datalayer.InvalidRecord, match="blobs"):
        await without.update_thread(thread_id, metadata={"long": None})
    await without.update_thread(thread_id, metadata={"short": 2})
    await without.close()
    assert (await layer.get_thread(thread_id))["metadata"] == {"long": LONG, "short": 2}
