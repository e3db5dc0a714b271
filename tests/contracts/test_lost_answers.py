"""What a write gives that is applied again, because the answer to its commit was lost."""

from typing import Any

import pytest

from datalayer import Verdict, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import StorageUnavailable
from datalayer.history.feedback import changes_of_step
from datalayer.writes import queue
from datalayer.writes.admission import QueuedWrite
from datalayer.writes.queue import Writer
from tests.support.lost_answers import lost_answers
from tests.support.records import step, thread, user_id, vote


async def test_a_repeated_removal_says_what_it_removed(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    thread_id = await thread(layer, owner, name="Before")
    question, answer = step(""), step("", type="assistant_message")
    for one in (question, answer):
        await layer.create_step(one | {"threadId": thread_id})
    await layer.add_account("vera", "hash", "reviewer")
    with lost_answers(), acting_as("alice"):
        cast = await layer.upsert_feedback(vote(answer["id"], 0, "bad"))
        assert await layer.give_reasons(answer["id"], ["wrong"])
        assert await layer.restore_vote(answer["id"], answer["id"])
        history = await layer.database.query(lambda connection: changes_of_step(connection, answer["id"]))
        # The vote, its reasons, and both again.
        assert [value for value, _, _ in history] == [0, 0, 0, 0]
        assert await layer.delete_feedback(cast)
        assert not await layer.delete_feedback(cast)
        prompt = await layer.put_prompt("greeting", "hello")
        assert await layer.delete_prompt(prompt.id)
        assert not await layer.delete_prompt(prompt.id)
        await layer.mark_thread(thread_id, "pin")
        assert await layer.unmark_thread(thread_id, "pin")
        assert not await layer.unmark_thread(thread_id, "pin")
    with lost_answers(), acting_as("vera"):
        await layer.put_verdict(Verdict(answer["id"], "wrong"))
        assert await layer.remove_verdict(answer["id"])
        assert not await layer.remove_verdict(answer["id"])
        assert len(await layer.verdict_history(thread_id)) == 2
        await layer.enqueue_answers([answer["id"]])
        assert await layer.take_next() is not None
        assert await layer.release_item(answer["id"])
        assert not await layer.release_item(answer["id"])
        view = await layer.put_view("mine", "vote=down")
        assert await layer.remove_view(view.id)
        assert not await layer.remove_view(view.id)


async def test_a_write_whose_commit_has_no_answer_says_what_it_did(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the test before, for writes that Chainlit makes: the queue itself applies them again."""
    thread_id = await thread(layer, await user_id(layer, "alice"), name="Before")
    steps = [step(thread_id, createdAt=f"2026-01-01T00:00:0{at}Z") for at in range(3)]
    for one in steps:
        await layer.create_step(one)
    with acting_as("alice"):
        cast = await layer.upsert_feedback(vote(steps[0]["id"], 1))
    transact = Writer._transact
    lost: list[str] = []

    async def lose(writer: Writer, run: list[QueuedWrite]) -> list[Any]:
        results = await transact(writer, run)
        name = type(run[0].operation).__name__
        if name not in lost:
            lost.append(name)
            raise StorageUnavailable("the answer is lost")
        return results

    monkeypatch.setattr(Writer, "_transact", lose)
    monkeypatch.setattr(Writer, "_lone_attempt", lambda *_: None)
    monkeypatch.setattr(queue, "FIRST_PAUSE_SECONDS", 0.0)
    with acting_as("alice"):
        assert await layer.cut_thread(thread_id, steps[0]["id"]) == 2
        assert await layer.cut_thread(thread_id, steps[0]["id"]) == 0
        assert await layer.replace_thread_name(thread_id, "Before", "After")
        assert not await layer.replace_thread_name(thread_id, "Before", "Later")
        assert await layer.delete_feedback(cast)
        assert not await layer.delete_feedback(cast)
    assert lost == ["ThreadCut", "ThreadRename", "VoteRemoval"]
