"""The audit is append-only except for retention; retention deletes what is old and keeps what is marked."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import Executable, delete, func, insert, select, text, update

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.records.usage import LlmCallPayload
from datalayer.schema.chat import elements, threads
from datalayer.schema.review import audit_entries, audit_retentions
from datalayer.schema.usage import llm_call_payloads, llm_calls
from tests.contracts.test_elements import text_element
from tests.support.calls import call as recorded_call
from tests.support.reviewing import Turn, account, call, reviewing, talk

OLD, THEN = "2020-01-01T00:00:00.000000Z", "2021-01-01T00:00:00.000000Z"


@pytest.fixture
async def layer(layer: ChainlitLayer) -> ChainlitLayer:
    await account(layer, "rita", "reviewer")
    await account(layer, "ada", "admin")
    return layer


CHANGES: list[Executable] = [
    update(audit_entries).values(purpose="none"),
    delete(audit_entries),
    # The record of a retention cannot be deleted either.
    update(audit_retentions).values(olderThan=""),
    delete(audit_retentions),
]
CHANGES_OF: dict[str, list[Executable]] = {
    "postgres": [text("TRUNCATE audit_entries"), text("TRUNCATE audit_retentions")],
    "sqlite": [
        text("INSERT OR REPLACE INTO audit_entries (id, at, action) VALUES (1, '', 'read')"),
        text("INSERT OR REPLACE INTO audit_retentions (id, \"olderThan\", at) VALUES (1, '', '')"),
    ],
}


async def test_the_audit_refuses_changes_and_deletions(layer: ChainlitLayer, engine: str) -> None:
    turn = await talk(layer)
    with reviewing():
        await layer.open_thread_for_review(turn.thread)
    async with layer.database.write() as connection:
        await connection.execute(insert(audit_retentions).values(olderThan=OLD, at=OLD))
    for change in (*CHANGES, *CHANGES_OF[engine]):
        with pytest.raises(datalayer.InvalidRecord):
            async with layer.database.write() as connection:
                await connection.execute(change)
    with datalayer.acting_as("ada"):
        (entry,) = (await layer.list_audit()).entries
    assert (entry.thread_id, entry.purpose) == (turn.thread, None)
    assert await counted(layer, audit_retentions) == 1


async def aged(layer: ChainlitLayer, **fields: Any) -> tuple[Turn, str]:
    """An old thread with a file and a call; returns the file's key."""
    turn = await talk(layer, **fields)
    with datalayer.acting_as("alice"):
        await layer.create_element(text_element(turn.thread, turn.question, "a file"))
        key = (await layer.get_thread(turn.thread))["elements"][0]["objectKey"]
    await call(layer, turn)
    async with layer.database.write() as connection:
        call_id = (await connection.execute(select(llm_calls.c.id).where(llm_calls.c.threadId == turn.thread))).scalar()
        await connection.execute(insert(llm_call_payloads).values(callId=call_id, response="Lyon", createdAt=OLD))
        await connection.execute(update(elements).where(elements.c.threadId == turn.thread).values(createdAt=OLD))
        await connection.execute(update(threads).where(threads.c.id == turn.thread).values(updatedAt=OLD))
    return turn, key


async def counted(layer: ChainlitLayer, table: Any) -> int:
    async with layer.database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def test_retention_deletes_old_threads_but_not_marked_or_copied_ones(layer: ChainlitLayer) -> None:
    old, key = await aged(layer)
    pinned, pinned_key = await aged(layer)
    flagged, flagged_key = await aged(layer)
    copied, _ = await aged(layer)
    await talk(layer)
    with datalayer.acting_as("alice"):
        await layer.mark_thread(pinned.thread, "pin")
        assert [one.kind for one in await layer.thread_marks_of(pinned.thread)] == ["pin"]
        with pytest.raises(datalayer.Forbidden):
            await layer.mark_thread(old.thread, "flag")
    with reviewing():
        await layer.mark_thread(flagged.thread, "flag", note="a case")
        await layer.take_over(copied.thread)
    with datalayer.acting_as("ada"):
        plan = await layer.plan_retention({"threads": THEN, "files": THEN, "payloads": THEN, "audit": THEN})
        assert [(one.kind, one.count, one.exempt, one.byte_size) for one in plan] == [
            ("payloads", 2, 2, None), ("files", 2 + 1, 2, 18), ("threads", 1, 3, 6), ("audit", 0, 0, None),
        ]  # fmt: skip
        assert await counted(layer, threads) == 6
        (receipt,) = await layer.apply_retention({"threads": THEN})
    assert receipt.threads == (old.thread,)
    assert receipt.files == (key,)
    assert (receipt.rows["threads"], receipt.rows["steps"], receipt.applied_by) == (1, 3, "ada")
    with datalayer.acting_as("ada"):
        (payloads,) = await layer.apply_retention({"payloads": THEN})
        (files,) = await layer.apply_retention({"files": THEN})
        plan = await layer.plan_retention({"threads": THEN, "files": THEN, "payloads": THEN})
        assert [one.count for one in plan] == [0, 0, 0]
        done = [one for one in (await layer.list_audit()).entries if one.action == "retention"]
    assert payloads.rows == {"llm_call_payloads": 1, "step_versions": 0}
    assert len(files.files) == 1
    assert [(one.details or {})["class"] for one in done] == ["files", "payloads", "threads"]
    for kept in (pinned_key, flagged_key):
        assert await layer.blobs.read(kept) == b"a file"
    with datalayer.acting_as("alice"):
        for turn in (pinned, flagged, copied):
            assert await layer.get_thread(turn.thread)
        assert await layer.get_thread(old.thread) is None
        assert await layer.unmark_thread(pinned.thread, "pin")
        assert not await layer.unmark_thread(pinned.thread, "pin")
    with datalayer.acting_as("ada"):
        assert [one.count for one in await layer.plan_retention({"threads": THEN})] == [1]


async def test_retention_keeps_a_thread_that_is_used_while_it_waits_for_it(
    layer: ChainlitLayer, database_url: str, engine: str
) -> None:
    used, _ = await aged(layer)
    old, _ = await aged(layer)
    other = datalayer.create_data_layer(database_url)
    try:
        with datalayer.acting_as("ada"):
            await layer.list_audit()
        async with other.database.write() as connection:
            await connection.execute(update(threads).where(threads.c.id == used.thread).values(updatedAt=utc_now()))
            with datalayer.acting_as("ada"):
                applying = asyncio.create_task(layer.apply_retention({"threads": THEN}))
            while engine == "postgres" and not await waits_for_a_lock(other):
                await asyncio.sleep(0.01)
        (receipt,) = await applying
    finally:
        await other.close()
    assert receipt.threads == (old.thread,)
    with datalayer.acting_as("alice"):
        assert len((await layer.get_thread(used.thread))["steps"]) == 3


async def waits_for_a_lock(layer: ChainlitLayer) -> bool:
    waiting = "wait_event_type = 'Lock' AND datname = current_database()"
    async with layer.database.read() as connection:
        return bool((await connection.execute(text(f"SELECT 1 FROM pg_stat_activity WHERE {waiting}"))).all())


async def test_retention_of_payloads_deletes_earlier_versions(layer: ChainlitLayer) -> None:
    turn, pinned = await talk(layer), await talk(layer)
    with datalayer.acting_as("alice"):
        for one in (turn, pinned):
            await layer.cut_thread(one.thread, one.question)
        await layer.mark_thread(pinned.thread, "pin")
    with datalayer.acting_as("ada"):
        assert [one.count for one in await layer.plan_retention({"payloads": THEN})] == [0]
        now = utc_now()
        assert [(one.count, one.exempt) for one in await layer.plan_retention({"payloads": now})] == [(1, 1)]
        (receipt,) = await layer.apply_retention({"payloads": now})
    assert receipt.rows == {"llm_call_payloads": 0, "step_versions": 1}
    with reviewing():
        for one, left in ((turn, 0), (pinned, 1)):
            opened = await layer.open_thread_for_review(one.thread)
            assert opened is not None
            assert len(opened.versions) == left


async def test_retention_of_the_audit_leaves_a_record_of_itself(layer: ChainlitLayer) -> None:
    turn, flagged = await talk(layer), await talk(layer)
    async with layer.database.write() as connection:
        for thread_id in (turn.thread, flagged.thread):
            await connection.execute(insert(audit_entries).values(at=OLD, action="read", subjectId=thread_id))
    with reviewing():
        await layer.open_thread_for_review(turn.thread)
        await layer.mark_thread(flagged.thread, "flag")
    with datalayer.acting_as("ada"):
        assert [(one.count, one.exempt) for one in await layer.plan_retention({"audit": THEN})] == [(1, 1)]
        (receipt,) = await layer.apply_retention({"audit": THEN})
        assert receipt.rows == {"audit_entries": 1}
        left = (await layer.list_audit()).entries
        with pytest.raises(datalayer.InvalidRecord):
            await layer.apply_retention({"audit": "2100-01-01"})
    assert [(one.action, one.at == OLD) for one in left] == [("retention", False), ("read", False), ("read", True)]
    async with layer.database.read() as connection:
        rows = (await connection.execute(select(audit_retentions.c.olderThan, audit_retentions.c.actor))).all()
    assert [tuple(row) for row in rows] == [(THEN, "ada")]


@pytest.mark.slow
async def test_retention_deletes_many_threads_in_parts(layer: ChainlitLayer) -> None:
    for _ in range(120):
        await talk(layer)
    async with layer.database.write() as connection:
        await connection.execute(update(threads).values(updatedAt=OLD))
    (receipt,) = await layer.apply_retention({"threads": THEN})
    assert len(receipt.threads) == receipt.rows["threads"] == 120
    assert await counted(layer, threads) == 0
    for wrong in ({"chairs": THEN}, {"threads": "soon"}, {"threads": ""}):
        with pytest.raises(datalayer.InvalidRecord):
            await layer.plan_retention(wrong)  # type: ignore[arg-type]


async def test_retention_keeps_payloads_of_calls_in_marked_threads(layer: ChainlitLayer) -> None:
    flagged, plain = await talk(layer), await talk(layer)
    with reviewing():
        await layer.mark_thread(flagged.thread, "flag")
    for turn in (flagged, plain):
        made = recorded_call(THEN, thread_id=turn.thread)
        await layer.record_call(made, LlmCallPayload(made.id, [], "Lyon"))
    with datalayer.acting_as(datalayer.SYSTEM):
        assert await layer.forget_payloads("2100-01-01T00:00:00Z") == 1
    assert await counted(layer, llm_call_payloads) == 1


async def test_retention_keeps_the_originals_of_a_copy_of_a_copy_in_use(layer: ChainlitLayer) -> None:
    turn, _ = await aged(layer)
    with reviewing():
        copy = await layer.take_over(turn.thread)
        copied_again = await layer.take_over(copy.thread_id)
    async with layer.database.write() as connection:
        await connection.execute(update(threads).where(threads.c.id == copy.thread_id).values(updatedAt=OLD))
    with datalayer.acting_as("ada"):
        assert [(one.count, one.exempt) for one in await layer.plan_retention({"threads": THEN})] == [(0, 2)]
        (receipt,) = await layer.apply_retention({"threads": THEN})
    assert receipt.threads == ()
    async with layer.database.write() as connection:
        await connection.execute(update(threads).where(threads.c.id == copied_again.thread_id).values(updatedAt=OLD))
    with datalayer.acting_as("ada"):
        assert [one.count for one in await layer.plan_retention({"threads": THEN})] == [3]
        (receipt,) = await layer.apply_retention({"threads": THEN})
    assert len(receipt.threads) == 3


async def test_a_file_without_a_thread_id_is_exempt_with_the_thread_of_its_step(layer: ChainlitLayer) -> None:
    turn, key = await aged(layer)
    async with layer.database.write() as connection:
        await connection.execute(update(elements).where(elements.c.forId == turn.question).values(threadId=None))
    with reviewing():
        await layer.mark_thread(turn.thread, "flag")
    with datalayer.acting_as("ada"):
        await layer.apply_retention({"files": THEN})
    assert await layer.blobs.read(key) == b"a file"
