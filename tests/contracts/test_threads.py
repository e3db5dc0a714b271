"""Threads: merged, listed by last activity, filtered, and deleted completely."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from chainlit.types import Pagination, ThreadFilter
from sqlalchemy import func, select

import datalayer
from datalayer import acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.schema.chat import metadata, migrations
from tests.contracts.test_elements import text_element
from tests.support.records import listed, new_id, page, step, thread, user_id, vote

NOBODYS_ID = "0b7c2f5e-5d0e-4c3f-9a51-3f6f1f0f7a11"


async def test_ten_concurrent_merges_keep_every_key(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None, metadata={"kept": {"a": 1}, "gone": 1})
    await asyncio.gather(*(layer.update_thread(thread_id, metadata={f"key{n}": n, "gone": None}) for n in range(10)))
    kept = (await layer.get_thread(thread_id))["metadata"]
    assert kept == {"kept": {"a": 1}} | {f"key{n}": n for n in range(10)}


async def test_merging_is_not_recursive(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None, metadata={"settings": {"a": 1, "b": 2}})
    await layer.update_thread(thread_id, metadata={"settings": {"a": 3}})
    assert (await layer.get_thread(thread_id))["metadata"] == {"settings": {"a": 3}}


@pytest.mark.parametrize("name", ["   ", "\n\t", "\u3000"])
async def test_a_name_of_blanks_is_empty(layer: ChainlitLayer, name: str) -> None:
    thread_id = await thread(layer, None, name="before")
    await layer.update_thread(thread_id, name=name)
    assert (await layer.get_thread(thread_id))["name"] == ""
    await layer.update_thread(thread_id, name=" after ")
    assert (await layer.get_thread(thread_id))["name"] == " after "


async def test_an_update_changes_only_the_given_fields(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    thread_id = await thread(layer, owner, name="名字", tags=["x"], metadata={"a": 1})
    before = await layer.get_thread(thread_id)
    await layer.update_thread(thread_id)
    await layer.update_thread(thread_id, metadata={})
    assert await layer.get_thread(thread_id) == before
    assert (before["name"], before["tags"], before["userIdentifier"]) == ("名字", ["x"], "alice")


@pytest.mark.parametrize("thread_id", [NOBODYS_ID, "no-uuid", "", "'; drop table threads; --"])
async def test_an_unknown_thread_is_none(layer: ChainlitLayer, thread_id: str) -> None:
    assert await layer.get_thread(thread_id) is None
    assert await layer.get_thread_author(thread_id) == ""
    await layer.delete_thread(thread_id)


async def test_threads_are_listed_by_last_activity(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    first, second, third = [await thread(layer, owner, name=name) for name in "abc"]
    assert await listed(layer, owner) == [third, second, first]
    await layer.create_step(step(first))
    assert await listed(layer, owner) == [first, third, second]
    await layer.update_thread(second, name="renaming is no activity", metadata={"nor": "is this"})
    assert await listed(layer, owner) == [first, third, second]


async def test_a_list_gives_the_last_activity_as_its_creation_time_because_the_page_sorts_by_it(
    layer: ChainlitLayer,
) -> None:
    owner = await user_id(layer, "alice")
    older, newer = [await thread(layer, owner, name=f"unusual {name}") for name in "ab"]
    stored = (await layer.get_thread(older))["createdAt"]
    question = step(older, "unusual")
    await layer.create_step(question)

    async def as_the_page_shows(**filters: Any) -> list[str]:
        found = [one for first in (1, 2) for one in (await pages(first, **filters))]
        # Chainlit's page: a stable sort of what it was given, the latest `createdAt` first.
        shown = list(dict.fromkeys(one["id"] for one in sorted(found, key=lambda one: one["createdAt"], reverse=True)))
        assert shown == list(dict.fromkeys(one["id"] for one in found))
        return shown

    async def pages(first: int, **filters: Any) -> list[Any]:
        found = await page(layer, owner, first=first, **filters)
        rest = await page(layer, owner, first=first, after=found.pageInfo.endCursor, **filters)
        return [*found.data, *rest.data]

    assert await as_the_page_shows() == [older, newer]
    assert await as_the_page_shows(search="unusual") == [older, newer]
    await layer.update_thread(newer, name="renamed, unusual")
    with acting_as("alice"):
        await layer.upsert_feedback(vote(question["id"], 0))
    assert await as_the_page_shows() == [older, newer], "neither a new name nor a vote is activity"
    await layer.create_step(step(newer))
    assert await as_the_page_shows() == [newer, older]
    await layer.cut_thread(older, question["id"])
    await layer.update_step({**question, "output": "unusual, edited"})
    await layer.create_step(step(older, "the answer to the edited question"))
    assert await as_the_page_shows() == [older, newer]
    assert (await layer.get_thread(older))["createdAt"] == stored, "the thread itself keeps its time"


async def test_pages_contain_every_thread_once(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    moment = "2026-01-01T00:00:00Z"
    made = []
    for number in range(25):
        thread_id = new_id()
        # All times are equal, so a page must end between them.
        await layer.create_step(step(thread_id, createdAt=moment))
        await layer.update_thread(thread_id, user_id=owner, name=str(number))
        made.append(thread_id)
    seen: list[str] = []
    after = None
    while True:
        found = await page(layer, owner, first=4, after=after)
        seen += [one["id"] for one in found.data]
        after = found.pageInfo.endCursor
        if not found.pageInfo.hasNextPage:
            break
        await layer.delete_thread(found.data[-1]["id"])  # the thread of the cursor is deleted
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(made)
    assert len(seen) >= 25 - 6


async def test_an_empty_page_ends_the_list(layer: ChainlitLayer) -> None:
    found = await page(layer, await user_id(layer, "alice"))
    assert (found.data, found.pageInfo.hasNextPage, found.pageInfo.endCursor) == ([], False, None)


@pytest.mark.parametrize("cursor", ["nonsense", NOBODYS_ID, "bnVsbA==", "WzEsMl0=", "🧵"])
async def test_an_invalid_cursor_is_refused(layer: ChainlitLayer, cursor: str) -> None:
    with pytest.raises(datalayer.InvalidRecord, match="cursor"):
        await page(layer, await user_id(layer, "alice"), after=cursor)


@pytest.mark.parametrize("first", [0, -1])
async def test_a_page_size_of_zero_is_refused(layer: ChainlitLayer, first: int) -> None:
    with pytest.raises(datalayer.InvalidRecord):
        await page(layer, await user_id(layer, "alice"), first=first)


async def test_a_list_without_a_user_is_refused(layer: ChainlitLayer) -> None:
    with pytest.raises(datalayer.InvalidRecord):
        await layer.list_threads(Pagination(first=1), ThreadFilter())


@pytest.mark.parametrize("value", [0, 1])
async def test_threads_are_filtered_by_thumb(layer: ChainlitLayer, value: int) -> None:
    owner = await user_id(layer, "alice")
    threads = {thumb: await thread(layer, owner) for thumb in (0, 1, None)}
    for thumb, thread_id in threads.items():
        written = step(thread_id)
        await layer.create_step(written)
        if thumb is not None:
            await layer.upsert_feedback(vote(written["id"], thumb))
    assert await listed(layer, owner, feedback=value) == [threads[value]]


async def test_deleting_a_thread_leaves_nothing(layer: ChainlitLayer, tmp_path: Path) -> None:
    owner = await user_id(layer, "alice")
    with datalayer.acting_as("alice"):
        thread_id = await thread(layer, owner)
        written = step(thread_id)
        await layer.create_step(written)
        await layer.upsert_feedback(vote(written["id"], 1, "good"))
        await layer.create_element(text_element(thread_id, written["id"], "kept until deleted"))
        key = (await layer.get_thread(thread_id))["elements"][0]["objectKey"]
        assert await layer.blobs.read(key) == b"kept until deleted"
        await layer.delete_thread(thread_id)
    assert await counts(layer) == {"users": 1, "deleted_threads": 1}
    with pytest.raises(datalayer.BlobNotFound):
        await layer.blobs.read(key)


async def test_writes_after_a_deletion_do_not_restore_the_thread(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, await user_id(layer, "alice"))
    await layer.delete_thread(thread_id)
    await layer.create_step(step(thread_id))
    await layer.update_thread(thread_id, metadata={"client_type": "webapp"})
    assert await layer.get_thread(thread_id) is None


async def test_writes_during_a_deletion_do_not_restore_the_thread(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, await user_id(layer, "alice"))
    calls = [layer.create_step(step(thread_id)), layer.delete_thread(thread_id), layer.create_step(step(thread_id))]
    await asyncio.gather(*calls)
    assert await layer.get_thread(thread_id) is None


async def test_a_refused_deletion_changes_nothing(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    thread_id = await thread(layer, owner)
    with datalayer.acting_as("bob"), pytest.raises(datalayer.Forbidden):
        await layer.delete_thread(thread_id)
    await layer.create_step(step(thread_id))
    assert len((await layer.get_thread(thread_id))["steps"]) == 1


async def test_a_thread_deleted_by_another_process_is_not_restored(
    layer: ChainlitLayer, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = datalayer.create_data_layer(database_url)
    written = step(await thread(layer, await user_id(layer, "alice")))
    await layer.create_step(written)
    await other.delete_thread(written["threadId"])
    await other.close()
    with caplog.at_level(logging.INFO, "datalayer.history.deletion_marks"):
        await layer.update_step({**written, "output": "more"})
        await layer.update_thread(written["threadId"], metadata={"client_type": "webapp"}, tags=["x"])
    assert [record.__dict__["thread_id"] for record in caplog.records] == [written["threadId"]] * 2
    assert await layer.get_thread(written["threadId"]) is None


async def counts(layer: ChainlitLayer) -> dict[str, int]:
    """The number of rows of each table that is not empty, without the table of migrations."""
    found: dict[str, Any] = {}
    async with layer.database.read() as connection:
        for table in metadata.sorted_tables:
            found[table.name] = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
    return {name: count for name, count in found.items() if count and name != migrations.name}
