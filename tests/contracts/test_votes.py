"""One vote per user and step; a changed vote keeps its history; only its author may change it."""

import asyncio

import pytest

import datalayer
from datalayer import feedback as feedback_table
from datalayer.chainlit_layer import ChainlitLayer
from tests.records import new_id, step, thread, user_id, vote


async def answer(layer: ChainlitLayer) -> tuple[str, str]:
    """Alice's thread, and a step in it."""
    with datalayer.acting_as("alice"):
        thread_id = await thread(layer, await user_id(layer, "alice"))
        written = step(thread_id)
        await layer.create_step(written)
    return thread_id, written["id"]


async def test_a_vote_comes_back_with_its_step(layer: ChainlitLayer) -> None:
    thread_id, step_id = await answer(layer)
    with datalayer.acting_as("alice"):
        kept = await layer.upsert_feedback(vote(step_id, 1, "great 🧵\x00"))
        (found,) = (await layer.get_thread(thread_id))["steps"]
    assert found["feedback"] == {"id": kept, "forId": step_id, "value": 1, "comment": "great 🧵\ufffd"}


async def test_votes_cast_at_once_are_one(layer: ChainlitLayer) -> None:
    thread_id, step_id = await answer(layer)
    with datalayer.acting_as("alice"):
        ids = await asyncio.gather(*(layer.upsert_feedback(vote(step_id, n % 2)) for n in range(10)))
        found = await layer.get_thread(thread_id)
    assert len(set(ids)) == 1
    assert len(found["steps"]) == 1
    assert found["steps"][0]["feedback"]["value"] == 1


async def test_a_changed_vote_keeps_its_history(layer: ChainlitLayer) -> None:
    _, step_id = await answer(layer)
    with datalayer.acting_as("alice"):
        await layer.upsert_feedback(vote(step_id, 1, "good"))
        kept = await layer.upsert_feedback(vote(step_id, 0, "on second thoughts"))
        assert await layer.delete_feedback(kept) is True
        assert await layer.delete_feedback(kept) is False
    async with layer.database.read() as connection:
        history = await feedback_table.changes_of_step(connection, step_id)
    assert [(value, comment) for value, comment, _ in history] == [
        (1, "good"),
        (0, "on second thoughts"),
        (None, None),
    ]


async def test_nobody_else_votes_on_or_changes_it(layer: ChainlitLayer) -> None:
    thread_id, step_id = await answer(layer)
    await user_id(layer, "bob")
    with datalayer.acting_as("alice"):
        kept = await layer.upsert_feedback(vote(step_id, 1))
    for actor in ("bob", None):
        with datalayer.acting_as(actor):
            with pytest.raises(datalayer.NotFound):
                await layer.upsert_feedback(vote(step_id, 0))
            with pytest.raises(datalayer.NotFound):
                await layer.delete_feedback(kept)
    with datalayer.acting_as("alice"):
        assert (await layer.get_thread(thread_id))["steps"][0]["feedback"]["value"] == 1


async def test_where_there_are_no_users_a_step_has_one_vote(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None)
    written = step(thread_id)
    await layer.create_step(written)
    first = await layer.upsert_feedback(vote(written["id"], 1))
    assert await layer.upsert_feedback(vote(written["id"], 0)) == first
    assert (await layer.get_thread(thread_id))["steps"][0]["feedback"]["value"] == 0


@pytest.mark.parametrize("value", [2, -1])
async def test_a_vote_that_is_no_thumb_is_refused(layer: ChainlitLayer, value: int) -> None:
    _, step_id = await answer(layer)
    ballot = vote(step_id, 1)
    object.__setattr__(ballot, "value", value)
    with pytest.raises(datalayer.InvalidRecord):
        await layer.upsert_feedback(ballot)


async def test_a_vote_on_nothing_is_refused(layer: ChainlitLayer) -> None:
    with pytest.raises(datalayer.NotFound):
        await layer.upsert_feedback(vote(new_id(), 1))
    with pytest.raises(datalayer.InvalidRecord):
        await layer.upsert_feedback(vote("no uuid", 1))
    assert await layer.delete_feedback(new_id()) is False
    assert await layer.delete_feedback("no uuid") is False
