"""The limits of DynamoDB: nobody notices them."""

import asyncio
import random
from pathlib import Path
from typing import Any, cast

import pytest
from chainlit.context import context_var, init_http_context
from chainlit.user import User

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.dynamodb import file_outbox, lanes
from datalayer.dynamodb.client import ATTEMPTS
from datalayer.dynamodb.layer import DynamoLayer
from datalayer.dynamodb.long_texts import LONGEST
from tests.contracts.dynamodb.items import all_items, kinds
from tests.contracts.test_elements import text_element
from tests.support.faulty_dynamodb import faulty
from tests.support.patience import until
from tests.support.records import listed, new_id, page, step, thread, user_id, vote


def dynamo(layer: ChainlitLayer) -> DynamoLayer:
    return cast(DynamoLayer, layer)


async def only_step(layer: ChainlitLayer, thread_id: str) -> dict[str, Any]:
    (found,) = (await layer.get_thread(thread_id))["steps"]
    return dict(found)


async def blobs_of(layer: ChainlitLayer) -> list[str]:
    return [blob.key async for blob in layer.blobs.list()]


async def test_texts_and_objects_longer_than_an_item_are_read_back(layer: ChainlitLayer) -> None:
    long, rows = "工具 " * 200_000, {"rows": [{"number": number} for number in range(10_000)]}
    written = step(new_id(), long, metadata=rows, mood=["x" * 1000] * 100)
    await layer.create_step(written)
    kept = await only_step(layer, written["threadId"])
    assert (kept["output"], kept["metadata"], kept["mood"]) == (long, rows, written["mood"])
    stored = next(one for one in await all_items(dynamo(layer).table) if one["SK"]["S"].startswith("STEP#"))
    assert long.startswith(stored["output"]["S"]) and len(stored["output"]["S"]) > 100, (
        "other readers see its beginning"
    )
    await layer.set_step_favorite({"id": written["id"], "threadId": written["threadId"]}, True)
    assert (await only_step(layer, written["threadId"]))["metadata"] == {**rows, "favorite": True}


async def test_a_replaced_long_text_leaves_no_file(layer: ChainlitLayer) -> None:
    written = step(new_id(), "a" * 2 * LONGEST)
    await layer.create_step(written)
    await layer.update_step({**written, "output": "b" * 3 * LONGEST})
    assert (await only_step(layer, written["threadId"]))["output"] == "b" * 3 * LONGEST
    assert len(await blobs_of(layer)) == 1
    await layer.update_step({**written, "output": "short"})
    assert (await only_step(layer, written["threadId"]))["output"] == "short"
    (stored,) = [one for one in await all_items(dynamo(layer).table) if one["SK"]["S"].startswith("STEP#")]
    assert not [name for name in stored if name.startswith("tk:long")]
    assert await blobs_of(layer) == []
    await layer.update_step({**written, "output": "c" * 2 * LONGEST})
    await layer.delete_thread(written["threadId"])
    assert await blobs_of(layer) == []


async def test_a_long_text_whose_answer_was_lost_stays(database_url: str, tmp_path: Path) -> None:
    layer = datalayer.create_data_layer(database_url, f"file://{tmp_path / 'blobs'}", patience_seconds=0)
    texts = [letter * 2 * LONGEST for letter in "abc"]
    written = step(new_id(), texts[0])
    await layer.create_step(written)
    with faulty(dynamo(layer).table) as client:
        client.lose_answers("transact_write_items", times=2)
        with pytest.raises(datalayer.StorageUnavailable):
            await layer.update_step({**written, "output": texts[1]})
        assert (await only_step(layer, written["threadId"]))["output"] == texts[1]
        assert len(await blobs_of(layer)) == 2, "nobody knows which of them the item names"
        await layer.update_step({**written, "output": texts[2]})
    queued = [one for one in await all_items(dynamo(layer).table) if one["SK"]["S"].startswith("FILE#")]
    assert len(queued) == 1 and queued[0]["UserThreadSK"]["S"] > f"TS#{utc_now()}"
    # When it is due, and so is the one that the item names.
    names = [*(one["SK"]["S"].removeprefix("FILE#") for one in queued), *await blobs_of(layer)]
    await dynamo(layer).file_deleter.queue(names, written["threadId"], utc_now())
    assert await dynamo(layer).file_deleter._work()
    assert (await only_step(layer, written["threadId"]))["output"] == texts[2]
    assert len(await blobs_of(layer)) == 1
    assert await kinds(dynamo(layer).table) == {"THREAD": 1, "STEP": 1}
    await layer.close()


async def test_a_refused_long_text_leaves_no_file_and_its_reason_is_told(layer: ChainlitLayer) -> None:
    written = step(await thread(layer, await user_id(layer, "alice")))
    await layer.create_step(written)
    with datalayer.acting_as("bob"), faulty(dynamo(layer).table) as client:
        client.refuse("batch_write_item", "ThrottlingException", times=ATTEMPTS)
        with pytest.raises(datalayer.Forbidden):
            await layer.update_step({**written, "output": "x" * 2 * LONGEST})
    assert await blobs_of(layer) == []


async def test_a_thread_is_read_and_searched_while_the_file_store_is_away(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    owner = await user_id(layer, "alice")
    thread_id = await thread(layer, owner)
    await layer.create_step(step(thread_id, "begin " + "x" * 2 * LONGEST))

    async def away(*_: Any) -> Any:
        raise datalayer.BlobError("away")

    monkeypatch.setattr(layer.blobs, "read", away)
    assert (await only_step(layer, thread_id))["output"].startswith("begin xxx")
    assert await listed(layer, owner, search="begin") == [thread_id]
    assert "only its beginning is shown" in caplog.text


async def test_files_are_tried_until_the_patience_ends(layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    thread_id = await thread(layer, None)
    for number in range(20):
        await layer.blobs.put(f"{thread_id}/{number}", b"x", "text/plain")
    tried: list[str] = []

    async def away(object_key: str) -> None:
        tried.append(object_key)
        raise datalayer.BlobError("away")

    monkeypatch.setattr(file_outbox, "PATIENCE_SECONDS", -1.0)
    monkeypatch.setattr(layer.blobs, "delete", away)
    receipt = await layer.delete_thread_with_receipt(thread_id)
    assert (len(receipt.files_left), len(tried) < 20) == (20, True)
    assert (await kinds(dynamo(layer).table))["FILE"] == 20


async def test_a_list_does_not_wait_for_a_thread_of_somebody_else(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    owners = [await user_id(layer, name) for name in ("alice", "bob")]
    monkeypatch.setattr(lanes, "WAIT_SECONDS", 0.01)
    stored = asyncio.Event()
    with faulty(dynamo(layer).table) as client:
        for actor in ("bob", datalayer.SYSTEM):
            client.hold("transact_write_items", stored)
            with datalayer.acting_as(actor):
                writing = asyncio.create_task(layer.create_step(step(new_id())))
            await until(lambda: client.calls["transact_write_items"])
            await asyncio.sleep(0.02)  # the write of nobody in particular is waited for that long
            with datalayer.acting_as("alice"):
                assert await listed(layer, owners[0]) == []
            assert "did not wait longer" not in caplog.text
            with datalayer.acting_as(actor):
                await listed(layer, owners[1])
            assert ("did not wait longer" in caplog.text) == (actor == "bob")
            stored.set()
            await writing
            stored.clear()
            client.calls.clear()
            caplog.clear()


async def test_many_steps_are_cut_in_few_transactions(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None)
    written = [step(thread_id, createdAt=f"2026-01-01T00:00:00.{number:06}Z") for number in range(31)]
    await asyncio.gather(*map(layer.create_step, written))
    with faulty(dynamo(layer).table) as client:
        assert await layer.cut_thread(thread_id, written[0]["id"]) == 30
        assert client.calls["transact_write_items"] == 2
    assert (await only_step(layer, thread_id))["id"] == written[0]["id"]


async def test_many_texts_that_are_not_long_are_read_back(layer: ChainlitLayer) -> None:
    moods = {f"mood {number}": str(number) * (LONGEST // 2) for number in range(10, 30)}
    written = step(new_id(), **moods)
    await layer.create_step(written)
    kept = await only_step(layer, written["threadId"])
    assert {name: kept[name] for name in moods} == moods


async def test_a_long_text_without_a_blob_store_is_refused(database_url: str) -> None:
    layer = datalayer.create_data_layer(database_url)
    with pytest.raises(datalayer.InvalidRecord, match="blobs"):
        await layer.create_step(step(new_id(), "x" * 2 * LONGEST))
    await layer.close()


async def test_numbers_keep_their_digits(layer: ChainlitLayer) -> None:
    numbers = {"large": 10**60 + 1, "exact": 12345678901234567890123456789012345678, "tiny": 5e-324, "half": 0.1}
    written = step(new_id(), metadata=numbers, generation={"tokenCount": 7})
    await layer.create_step(written)
    kept = await only_step(layer, written["threadId"])
    assert kept["metadata"] == numbers
    assert type(kept["generation"]["tokenCount"]) is int, "Chainlit's own layer gives a float"


async def test_metadata_of_many_keys_are_merged(layer: ChainlitLayer) -> None:
    """An expression of DynamoDB has at most 4 KB, which is some 250 keys."""
    first, second = ({f"{word}{number}": number for number in range(400)} for word in ("first", "second"))
    owner = await layer.create_user(User(identifier="alice", metadata=first))
    more = await layer.create_user(User(identifier="alice", metadata={**second, "first0": "changed"}))
    assert (more.createdAt, more.metadata) == (owner.createdAt, {**first, **second, "first0": "changed"})
    thread_id = await thread(layer, "alice", metadata=first)
    await asyncio.gather(
        layer.update_thread(thread_id, metadata={**second, "first0": None}),
        layer.update_thread(thread_id, metadata={"last": 1}),
    )
    kept = (await layer.get_thread(thread_id))["metadata"]
    assert kept == {name: one for name, one in {**first, **second, "last": 1}.items() if name != "first0"}
    await layer.update_thread(thread_id, metadata=dict.fromkeys(first))
    assert (await layer.get_thread(thread_id))["metadata"] == {**second, "last": 1}


async def test_a_thread_of_more_than_a_megabyte_is_read_cut_and_deleted(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    thread_id = await thread(layer, owner)
    text = "x" * 10_000
    moments = [f"2026-01-01T00:00:00.{number:06}Z" for number in range(106)]
    written = [step(thread_id, text, createdAt=moment) for moment in moments]
    await asyncio.gather(*map(layer.create_step, written))
    found = await layer.get_thread(thread_id)
    assert [one["id"] for one in found["steps"]] == [one["id"] for one in written]
    assert await layer.cut_thread(thread_id, written[101]["id"], keep=[written[103]["id"]]) == 3
    receipt = await layer.delete_thread_with_receipt(thread_id)
    assert (receipt.rows["threads"], receipt.rows["steps"], receipt.messages) == (1, 103, 103)
    assert await kinds(dynamo(layer).table) == {"USER": 1, "DELETED": 1}


async def test_parts_of_batches_that_are_given_back_are_asked_for_again(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    threads = [await thread(layer, owner, name=name) for name in "abcde"]
    for thread_id in [threads[0], threads[0], *threads]:
        await layer.create_step(step(thread_id))
    with faulty(dynamo(layer).table) as client:
        client.give_back("batch_get_item", times=3)
        assert await listed(layer, owner) == threads[::-1]
        client.give_back("batch_write_item", times=2)
        await layer.delete_thread(threads[0])
    assert (await kinds(dynamo(layer).table))["STEP"] == 4


@pytest.mark.parametrize(
    ("code", "reasons"),
    [
        ("ProvisionedThroughputExceededException", ()),
        ("ThrottlingException", ()),
        ("TransactionCanceledException", ("None", "TransactionConflict")),
        ("TransactionCanceledException", ("ThrottlingError", "None")),
    ],
)
async def test_writes_that_are_refused_for_now_are_stored_in_order(
    layer: ChainlitLayer, code: str, reasons: tuple[str, ...]
) -> None:
    written = step(new_id(), "first")
    await layer.create_step(written)
    with faulty(dynamo(layer).table) as client:
        client.refuse("transact_write_items", code, times=3, reasons=reasons)
        calls = []
        for number in range(20):
            calls.append(asyncio.create_task(layer.update_step({**written, "output": f"state {number}"})))
            await asyncio.sleep(random.choice([0, 0.001]))
        await asyncio.gather(*calls)
        assert client.calls["transact_write_items"] >= 4
    assert (await only_step(layer, written["threadId"]))["output"] == "state 19"


@pytest.mark.parametrize("times", [1, 2])
async def test_a_write_whose_answer_is_lost_is_stored_once(layer: ChainlitLayer, times: int) -> None:
    """The call is repeated once, and then the write."""
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"), faulty(dynamo(layer).table) as client:
        client.lose_answers("transact_write_items", times)
        thread_id = await thread(layer, owner)
        written = step(thread_id)
        client.lose_answers("transact_write_items", times)
        await layer.create_step(written)
        client.lose_answers("transact_write_items", times)
        await layer.upsert_feedback(vote(written["id"], 1))
        assert (await only_step(layer, thread_id))["feedback"]["value"] == 1
        assert await kinds(dynamo(layer).table) == {"USER": 1, "THREAD": 1, "STEP": 1, "VOTE": 1, "CHANGE": 1}
        client.lose_answers("update_item", times)
        assert await layer.replace_thread_name(thread_id, "a thread", "renamed")
        assert not await layer.replace_thread_name(thread_id, "a thread", "another")
        cast = (await only_step(layer, thread_id))["feedback"]["id"]
        client.lose_answers("transact_write_items", times)
        assert await layer.delete_feedback(cast)
        assert not await layer.delete_feedback(cast)
    assert await kinds(dynamo(layer).table) == {"USER": 1, "THREAD": 1, "STEP": 1, "CHANGE": 2}


async def test_what_was_deleted_is_counted_although_an_answer_is_lost(layer: ChainlitLayer) -> None:
    owner, ids = await user_id(layer, "alice"), [new_id() for _ in range(2)]
    steps = [[step(one, createdAt=f"2026-01-01T00:00:{number:02}Z") for number in range(28)] for one in ids]
    with datalayer.acting_as("alice"):
        for one, own in zip(ids, steps, strict=True):
            await layer.update_thread(one, user_id=owner)
            await asyncio.gather(*map(layer.create_step, own))
        with faulty(dynamo(layer).table) as client:
            for name in ("transact_write_items", "batch_write_item"):
                client.lose_answers(name)
            receipt = await layer.delete_thread_with_receipt(ids[0])
            assert set(receipt.row_ids["steps"]) == {one["id"] for one in steps[0]}
            client.lose_answers("transact_write_items")
            assert await layer.cut_thread(ids[1], steps[1][0]["id"]) == 27
    assert await kinds(dynamo(layer).table) == {"USER": 1, "THREAD": 1, "STEP": 1, "DELETED": 1}


async def test_two_processes_merge_metadata_without_losing_a_key(layer: ChainlitLayer, database_url: str) -> None:
    thread_id = await thread(layer, None, metadata={"kept": 1})
    other = datalayer.create_data_layer(database_url)
    changes = (one.update_thread(thread_id, metadata={f"{at}": at}) for at, one in enumerate([layer, other] * 5))
    await asyncio.gather(*changes)
    await other.close()
    assert (await layer.get_thread(thread_id))["metadata"] == {"kept": 1} | {f"{at}": at for at in range(10)}


async def test_own_writes_are_listed_although_the_index_lags_behind(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"):
        first, gone = await thread(layer, owner, name="first"), await thread(layer, owner, name="gone")
        asked, second = step(first), new_id()
        await layer.create_step(asked)
        with faulty(dynamo(layer).table) as client:
            client.freeze_index()
            assert await listed(layer, owner) == [first, gone]
            assert await listed(layer, owner, feedback=0) == []
            assert await layer.get_favorite_steps(owner) == []
            await layer.create_step(step(second, createdAt=None))
            await layer.upsert_feedback(vote(asked["id"], 0))
            await layer.set_step_favorite(asked, True)
            await layer.delete_thread(gone)
            assert await listed(layer, owner) == [second, first]
            assert await listed(layer, owner, feedback=0) == [first]
            assert [one["id"] for one in await layer.get_favorite_steps(owner)] == [asked["id"]]
            await layer.upsert_feedback(vote(asked["id"], 1))
            assert await listed(layer, owner, feedback=0) == []


async def test_a_thread_that_moves_to_the_front_between_two_pages_is_listed_there_alone(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    older, newer = await thread(layer, owner), await thread(layer, owner)
    with faulty(dynamo(layer).table) as client:
        client.freeze_index()
        first = await page(layer, owner, first=1)
        assert [one["id"] for one in first.data] == [newer]
        assert [one["id"] for one in (await page(layer, owner, after=first.pageInfo.endCursor)).data] == [older]
        await layer.create_step(step(older))
        assert (await page(layer, owner, after=first.pageInfo.endCursor)).data == []
        assert [one["id"] for one in (await page(layer, owner, first=2)).data] == [older, newer]


async def test_a_page_reads_as_many_items_however_long_the_history_is(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    read: list[list[int]] = []
    for _ in range(2):
        for _ in range(8):
            await thread(layer, owner)
        dynamo(layer)._recent._of_user.clear()  # as after half a minute
        with faulty(dynamo(layer).table) as client:
            found = await page(layer, owner, first=3)
            rest = await page(layer, owner, first=3, after=found.pageInfo.endCursor)
            assert len({one["id"] for one in [*found.data, *rest.data]}) == 6
            read.append([client.calls["query"], client.calls["batch_get_item"]])
    assert read == [[2, 2], [2, 2]]


async def test_writes_wait_in_the_spool_file_while_the_service_is_away(database_url: str, tmp_path: Path) -> None:
    away = database_url.partition("endpoint_url=")[0] + "endpoint_url=http://127.0.0.1:9"
    lost = datalayer.create_data_layer(away, patience_seconds=60, spool=tmp_path / "spool")
    written = step(new_id(), "kept")
    waiting = asyncio.create_task(lost.create_step(written))
    element = text_element(written["threadId"], written["id"], "x")
    init_http_context(thread_id=written["threadId"])
    deletion = asyncio.create_task(lost.delete_element(element.id))
    await asyncio.sleep(0.05)
    assert lost.queued_writes == 2
    with datalayer.acting_as(datalayer.SYSTEM):
        assert lost.waiting_threads(0) == {written["threadId"]}
        assert lost.waiting_threads(60) == set()
    await lost.close(deadline_seconds=0.2)
    for one in (waiting, deletion):
        with pytest.raises(datalayer.StorageUnavailable, match="spool file"):
            await one
    context_var.set(cast(Any, None))  # as in another process
    layer = datalayer.create_data_layer(database_url, f"file://{tmp_path / 'blobs'}", spool=tmp_path / "spool")
    await layer.create_element(element)
    await layer.migrate()
    found = await layer.get_thread(written["threadId"])
    assert ([one["output"] for one in found["steps"]], found["elements"]) == (["kept"], [])
    await layer.close()
