"""Copies of threads: the original is unchanged, files are kept while a row names them, and deletion is complete."""

from typing import Any

import pytest
from sqlalchemy import func, select, update

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.review import AnswerFilter, Verdict
from datalayer.schema.chat import blob_deletions, elements, metadata, steps, threads
from tests.contracts.test_elements import text_element
from tests.contracts.test_erasure import rows
from tests.support.records import new_id, opened, step, user_id
from tests.support.reviewing import Turn, account, call, reviewing, talk


@pytest.fixture
async def layer(layer: ChainlitLayer) -> ChainlitLayer:
    await account(layer, "rita", "reviewer")
    await account(layer, "rob", "reviewer")
    return layer


async def with_file(layer: ChainlitLayer) -> tuple[Turn, Any, str]:
    turn = await talk(layer, thumb=0, tags=["geo"], metadata={"is_shared": True, "chat_profile": "Guide"})
    with datalayer.acting_as("alice"):
        element = text_element(turn.thread, turn.question, "a file")
        await layer.create_element(element)
        key = (await layer.get_thread(turn.thread))["elements"][0]["objectKey"]
    return turn, element, key


async def test_a_copy_is_complete_and_leaves_the_original_unchanged(layer: ChainlitLayer) -> None:
    turn, _, key = await with_file(layer)
    with datalayer.acting_as("alice"):
        before = await layer.get_thread(turn.thread)
    with reviewing():
        origin = await layer.take_over(turn.thread, step_id=turn.answer, purpose="to better it")
        copy = await layer.get_thread(origin.thread_id)
        await layer.create_step(step(origin.thread_id, "and now?"))
    with datalayer.acting_as("alice"):
        assert await layer.get_thread(turn.thread) == before
        assert await layer.get_thread(origin.thread_id) is None
        assert [(one.actor, one.action, one.purpose) for one in (await layer.who_looked()).entries] == [
            ("rita", "take_over", "to better it")
        ]
    assert (copy["userIdentifier"], copy["name"], copy["tags"]) == ("rita", before["name"], ["geo"])
    assert copy["metadata"] == {"chat_profile": "Guide"}
    ids = {one["id"] for one in before["steps"]}
    assert not ids & {one["id"] for one in copy["steps"]}
    same = ("name", "type", "input", "output", "createdAt", "isError")
    assert [[one[key] for key in same] for one in copy["steps"]] == [
        [one[key] for key in same] for one in before["steps"]
    ]
    # The copied answer is in the copied run, and the file belongs to the copied question.
    assert copy["steps"][2]["parentId"] == copy["steps"][1]["id"]
    assert copy["elements"][0]["forId"] == copy["steps"][0]["id"]
    assert copy["elements"][0]["objectKey"] == key
    assert all(one["feedback"] is None for one in copy["steps"])
    with reviewing("rob"):
        seen = await layer.open_thread_for_review(turn.thread)
        copied = await layer.open_thread_for_review(origin.thread_id)
    assert seen is not None
    assert copied is not None
    assert [(one.thread_id, one.reviewer) for one in seen.copies] == [(origin.thread_id, "rita")]
    assert copied.origin is not None
    assert (copied.origin.original_id, copied.origin.original_step_id) == (turn.thread, turn.answer)
    with reviewing():
        for thread_id, step_id in ((new_id(), None), (turn.thread, new_id())):
            with pytest.raises(datalayer.NotFound):
                await layer.take_over(thread_id, step_id=step_id)


async def test_the_latest_answers_of_own_copies_are_listed(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    with reviewing():
        first, second = [await layer.take_over(turn.thread) for _ in range(2)]
        for number in range(10, 35):
            values = {"type": "assistant_message", "createdAt": f"2026-05-01T10:00:{number}Z"}
            await layer.create_step(step(first.thread_id, f"{number} " + "x" * 200, **values))
        await layer.create_step(step(first.thread_id, "a question", createdAt="2026-05-02T10:00:00Z"))
        await layer.create_step(step(first.thread_id, "", type="assistant_message", createdAt="2026-05-02T10:00:00Z"))
        found = await layer.answers_of_copies([first.thread_id, second.thread_id, turn.thread, "no id", new_id()])
        assert await layer.answers_of_copies([]) == []
    of_first = [one.excerpt for one in found if one.thread_id == first.thread_id]
    assert of_first == [(f"{number} " + "x" * 200)[:100] for number in range(34, 14, -1)]
    (of_second,) = [one for one in found if one.thread_id == second.thread_id]
    assert of_second.excerpt == "It is Lyon."
    assert of_second.step_id != turn.answer
    with reviewing("rob"):
        assert await layer.answers_of_copies([first.thread_id]) == [], "the copy of another reviewer"


async def test_reading_a_copy_is_shown_to_the_owner_of_the_original(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    with reviewing():
        origin = await layer.take_over(turn.thread)
        # It is their own thread now, and taking it over is in the audit already.
        await layer.open_thread_for_review(origin.thread_id)
    with reviewing("rob"):
        with pytest.raises(datalayer.InvalidRecord):
            await layer.open_thread_for_review(origin.thread_id, purpose_required=True)
        await layer.open_thread_for_review(origin.thread_id, purpose="a second look")
        await layer.take_over(origin.thread_id)
    with datalayer.acting_as("alice"):
        looked = (await layer.who_looked()).entries
    assert [(one.actor, one.action, one.thread_id, one.purpose) for one in looked] == [
        ("rob", "take_over", turn.thread, None),
        ("rob", "read", turn.thread, "a second look"),
        ("rita", "take_over", turn.thread, None),
    ]
    with datalayer.acting_as("rita"):
        assert {one.thread_id for one in (await layer.who_looked()).entries} == {origin.thread_id}


async def test_a_copy_is_not_shared(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    with reviewing():
        origin = await layer.take_over(turn.thread)
        with pytest.raises(datalayer.Forbidden):
            await layer.update_thread(origin.thread_id, metadata={"is_shared": True})
        with pytest.raises(datalayer.Forbidden):
            await layer.change_thread(origin.thread_id, metadata={"is_shared": True}, only_if=lambda _: True)
        await layer.update_thread(origin.thread_id, metadata={"is_shared": False}, name="mine")
    with datalayer.acting_as("bob"):
        assert await layer.get_thread(origin.thread_id) is None


async def test_a_fork_of_a_copy_outlives_the_copy_but_not_the_original(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    with reviewing():
        origin = await layer.take_over(turn.thread)
        copied = (await layer.get_thread(origin.thread_id))["steps"][0]["id"]
        fork = await layer.fork_thread(origin.thread_id, copied)
        with pytest.raises(datalayer.Forbidden):
            await layer.update_thread(fork, metadata={"is_shared": True})
        await layer.delete_thread_with_receipt(origin.thread_id)
        assert await layer.get_thread(fork) is not None
    with datalayer.acting_as("alice"):
        await layer.delete_thread_with_receipt(turn.thread)
    assert await layer.get_thread(fork) is None


async def test_an_owner_known_by_identifier_only_sees_who_read_the_thread(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    async with layer.database.write() as connection:
        await connection.execute(update(threads).where(threads.c.id == turn.thread).values(userId=None))
    with reviewing():
        await layer.open_thread_for_review(turn.thread)
        async for _ in layer.export_conversations(AnswerFilter()):
            pass
    with datalayer.acting_as("alice"):
        assert [one.action for one in (await layer.who_looked()).entries] == ["export", "read"]


async def test_a_shared_file_is_deleted_with_the_last_thread_that_names_it(layer: ChainlitLayer) -> None:
    turn, element, key = await with_file(layer)
    with reviewing():
        origin = await layer.take_over(turn.thread)
    with datalayer.acting_as("alice"):
        await layer.delete_element(element.id, turn.thread)
    assert await layer.blobs.read(key) == b"a file"
    with reviewing():
        kept = (await layer.get_thread(origin.thread_id))["elements"][0]["id"]
        found = await opened(layer, origin.thread_id, kept)
        assert found is not None
        assert found[1] == b"a file"
        receipt = await layer.delete_thread_with_receipt(origin.thread_id)
    assert receipt.files == (key,)
    with pytest.raises(datalayer.BlobNotFound):
        await layer.blobs.read(key)
    async with layer.database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(blob_deletions))).scalar_one() == 0


async def test_deleting_a_copy_keeps_the_file_of_the_original(layer: ChainlitLayer) -> None:
    turn, _, key = await with_file(layer)
    with reviewing():
        origin = await layer.take_over(turn.thread)
        receipt = await layer.delete_thread_with_receipt(origin.thread_id)
    assert receipt.rows["thread_origins"] == 1
    assert (receipt.files, receipt.files_left) == ((), ())
    assert await layer.blobs.read(key) == b"a file"
    with datalayer.acting_as("alice"):
        assert (await layer.get_thread(turn.thread))["elements"]


async def test_deleting_a_thread_deletes_its_copies_verdicts_and_marks(layer: ChainlitLayer) -> None:
    async with layer.database.read() as connection:
        tables = {table.name for table in metadata.sorted_tables if "threadId" in table.c}
    empty = await rows(layer)
    turn, _, key = await with_file(layer)
    await call(layer, turn)
    with reviewing():
        origin = await layer.take_over(turn.thread, step_id=turn.answer)
        again = await layer.take_over(origin.thread_id)
        sampled = await layer.fill_queue(percent=100)
        assert sampled.thumbs_down + sampled.sample == 1, "answers in copies are not sampled"
        await layer.put_verdict(Verdict(turn.answer, "wrong", note="Lyon?"))
        await layer.mark_thread(turn.thread, "flag", note="look")
        await layer.open_thread_for_review(turn.thread)
    with datalayer.acting_as("alice"):
        receipt = await layer.delete_user("alice")
    assert receipt.threads == tuple(sorted((turn.thread, origin.thread_id, again.thread_id)))
    assert receipt.files == (key,)
    assert {"verdicts": 1, "verdict_changes": 1, "thread_marks": 1, "thread_origins": 2}.items() <= receipt.rows.items()
    assert receipt.rows["review_items"] >= 1
    assert tables <= receipt.rows.keys() | {"blob_deletions", "llm_calls"}
    # The cost of the call and the audit are kept; neither contains content of the thread. The folder of the copies ends
    # when their owner next sees the folders.
    with datalayer.acting_as("rita"):
        assert await layer.folders(await user_id(layer, "rita")) == []
    left = await rows(layer)
    changed = {name for name, count in left.items() if count != empty[name]}
    assert {"audit_entries"} <= changed <= {"audit_entries", "llm_calls"}
    async with layer.database.read() as connection:
        for table in (steps, elements):
            assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == 0


async def test_deleting_a_reviewer_deletes_verdicts_and_views_but_no_audit(layer: ChainlitLayer) -> None:
    turn = await talk(layer, thumb=0)
    with reviewing():
        await layer.fill_queue(percent=0)
        await layer.enqueue_answers([turn.answer], reviewer="rita")
        await layer.take_next()
        await layer.put_verdict(Verdict(turn.answer, "wrong"))
        await layer.mark_thread(turn.thread, "flag")
        await layer.put_view("mine", "")
        await layer.open_thread_for_review(turn.thread)
    receipt = await layer.delete_user("rita")
    assert (receipt.rows["verdicts"], receipt.rows["verdict_changes"], receipt.rows["review_views"]) == (1, 1, 1)
    with reviewing("rob"):
        seen = await layer.open_thread_for_review(turn.thread)
        assert seen is not None
        assert seen.verdicts == ()
        assert [(one.kind, one.by) for one in seen.marks] == [("flag", None)]
        assert [row.step_id for row in (await layer.list_answers(AnswerFilter(is_reviewed=False))).rows] == [
            turn.answer
        ]
        assert [item.assigned_to for item in await layer.list_queue(is_done=True)] == [None]
    with datalayer.acting_as("alice"):
        # The audit is kept after a reviewer was deleted.
        assert [one.actor for one in (await layer.who_looked()).entries] == ["rob", "rita"]


async def test_only_the_owner_of_a_copy_links_a_better_answer(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    with reviewing():
        origin = await layer.take_over(turn.thread, step_id=turn.answer)
        better = step(origin.thread_id, "It is Paris.", type="assistant_message")
        await layer.create_step(better)
    with reviewing("rob"), pytest.raises(datalayer.Forbidden):
        await layer.link_better_run(origin.thread_id, better["id"])
    with reviewing():
        for copy_id, step_id in ((turn.thread, better["id"]), (origin.thread_id, turn.answer)):
            with pytest.raises(datalayer.NotFound):
                await layer.link_better_run(copy_id, step_id)
        await layer.link_better_run(origin.thread_id, better["id"])
        seen = await layer.open_thread_for_review(turn.thread)
    assert seen is not None
    assert [(one.original_step_id, one.better_step_id) for one in seen.copies] == [(turn.answer, better["id"])]
