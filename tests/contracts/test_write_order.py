"""Batches of the queue when many threads are written concurrently."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from sqlalchemy import event

from datalayer.chainlit_layer import ChainlitLayer
from tests.support.records import new_id, step


async def test_conversations_that_begin_together_share_transactions(layer: ChainlitLayer) -> None:
    commits: list[Any] = []
    event.listen(layer.database.writing_engine.sync_engine, "commit", commits.append)
    threads = [new_id() for _ in range(40)]
    calls: list[Coroutine[Any, Any, None]] = []
    for thread_id in threads:
        # The calls of Chainlit: the question, its thread, the run.
        calls += [
            layer.create_step(step(thread_id, "question")),
            layer.update_thread(thread_id, name="question"),
            layer.create_step(step(thread_id, "", type="run", name="on_message")),
        ]
    await asyncio.gather(*calls)
    # One batch each for all steps before the changes of threads, for all changes, and for all steps after.
    assert len(commits) <= 3
    for thread_id in threads:
        stored = await layer.get_thread(thread_id)
        assert (stored["name"], len(stored["steps"])) == ("question", 2)


async def test_writes_of_a_thread_stay_in_order_among_those_of_others(layer: ChainlitLayer) -> None:
    threads = [new_id() for _ in range(20)]
    calls: list[Coroutine[Any, Any, Any]] = []
    for number, thread_id in enumerate(threads):
        first, second, third = (step(thread_id, output) for output in ("first", "second", "third"))
        calls += [
            layer.create_step(first),
            layer.update_thread(thread_id, name="early"),
            layer.create_step(second),
            layer.cut_thread(thread_id, first["id"]),
            layer.create_step(third),
            layer.update_thread(thread_id, name="late"),
        ]
        if number % 2:
            # The deletion of a step does not name its thread.
            calls += [layer.delete_step(third["id"]), layer.update_step({**third, "output": "third, again"})]
    await asyncio.gather(*calls)
    for number, thread_id in enumerate(threads):
        stored = await layer.get_thread(thread_id)
        outputs = [one["output"] for one in stored["steps"]]
        assert (stored["name"], outputs) == ("late", ["first", "third, again" if number % 2 else "third"])


async def test_a_change_of_a_step_just_before_its_creation_and_its_thread_is_stored(layer: ChainlitLayer) -> None:
    thread_id = new_id()
    newest = step(thread_id, "newest")
    # The first write leaves alone; the others share a batch, in which only the creation makes the thread.
    await asyncio.gather(
        layer.create_step(step(new_id())),
        layer.update_step(newest),
        layer.create_step({**newest, "output": "first"}),
    )
    assert [one["output"] for one in (await layer.get_thread(thread_id))["steps"]] == ["newest"]
