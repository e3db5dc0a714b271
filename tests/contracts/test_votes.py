"""One vote per user and step; a changed vote keeps its history; only its author may change it."""

import asyncio

import pytest
from sqlalchemy import delete, insert, select, text, update

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.history import feedback
from datalayer.schema.chat import feedback_changes, feedbacks
from tests.support.patience import until
from tests.support.records import listed, new_id, step, thread, user_id, vote


async def answer(layer: ChainlitLayer) -> tuple[str, str]:
    """Alice's thread and a step in it."""
    with datalayer.acting_as("alice"):
        thread_id = await thread(layer, await user_id(layer, "alice"))
        written = step(thread_id)
        await layer.create_step(written)
    return thread_id, written["id"]


async def test_a_vote_is_read_with_its_step(layer: ChainlitLayer) -> None:
    thread_id, step_id = await answer(layer)
    with datalayer.acting_as("alice"):
        kept = await layer.upsert_feedback(vote(step_id, 1, "great 🧵\x00"))
        (found,) = (await layer.get_thread(thread_id))["steps"]
    assert found["feedback"] == {"id": kept, "forId": step_id, "value": 1, "comment": "great 🧵\ufffd"}


async def test_concurrent_votes_are_one_vote(layer: ChainlitLayer) -> None:
    thread_id, step_id = await answer(layer)
    with datalayer.acting_as("alice"):
        ids = await asyncio.gather(*(layer.upsert_feedback(vote(step_id, n % 2)) for n in range(10)))
        found = await layer.get_thread(thread_id)
    assert len(set(ids)) == 1
    assert len(found["steps"]) == 1
    assert found["steps"][0]["feedback"]["value"] == 1


async def test_votes_in_one_thread_at_once_are_all_noted_in_it(layer: ChainlitLayer, engine: str) -> None:
    if engine == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    thread_id, up = await answer(layer)
    owner = await user_id(layer, "alice")
    waits = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    async def cast(step_id: str, value: int) -> None:
        # Past the queue, which stores the votes of a thread one after another.
        async with layer.database.write() as connection:
            values = {"forId": step_id, "threadId": thread_id, "userId": owner, "value": value}
            await connection.execute(insert(feedbacks).values(id=new_id(), **values))

    async def is_waiting() -> bool:
        async with layer.database.read() as connection:
            return bool((await connection.execute(waits)).scalar_one())

    async with layer.database.write() as connection:
        await connection.execute(
            insert(feedbacks).values(id=new_id(), forId=up, threadId=thread_id, userId=owner, value=1)
        )
        other = asyncio.create_task(cast(new_id(), 0))
        await until(is_waiting)
    await other
    with datalayer.acting_as("alice"):
        for value in (0, 1):
            assert await listed(layer, owner, feedback=value) == [thread_id]


async def test_a_changed_vote_keeps_its_history(layer: ChainlitLayer) -> None:
    _, step_id = await answer(layer)
    with datalayer.acting_as("alice"):
        await layer.upsert_feedback(vote(step_id, 1, "good"))
        kept = await layer.upsert_feedback(vote(step_id, 0, "on second thoughts"))
        assert await layer.delete_feedback(kept) is True
        assert await layer.delete_feedback(kept) is False
    async with layer.database.read() as connection:
        history = await feedback.changes_of_step(connection, step_id)
    assert [(value, comment) for value, comment, _ in history] == [
        (1, "good"),
        (0, "on second thoughts"),
        (None, None),
    ]


async def last_votes(layer: ChainlitLayer, step_id: str) -> list[tuple[int | None, str | None, list[str] | None]]:
    """The history of the votes on the step, oldest first, with reasons."""
    change = feedback_changes.c
    statement = select(change.value, change.comment, change.reasons).where(change.forId == step_id)
    async with layer.database.read() as connection:
        assert not (await connection.execute(select(feedbacks.c.id).where(feedbacks.c.forId == step_id))).all()
        return [tuple(row) for row in await connection.execute(statement.order_by(change.changedAt))]


@pytest.mark.parametrize("way", ["delete_step", "cut_thread"])
async def test_the_history_of_a_vote_is_kept_when_its_step_is_deleted(layer: ChainlitLayer, way: str) -> None:
    thread_id, asked = await answer(layer)
    with datalayer.acting_as("alice"):
        answered = step(thread_id)
        await layer.create_step(answered)
        await layer.upsert_feedback(vote(answered["id"], 1))
        kept = await layer.upsert_feedback(vote(answered["id"], 0, "no"))
        await layer.give_reasons(answered["id"], ["wrong"])
        # The reasons are kept, because the thumb is unchanged and this change gives no reasons.
        await layer.upsert_feedback(vote(answered["id"], 0, "no, no"))
        await (layer.delete_step(answered["id"]) if way == "delete_step" else layer.cut_thread(thread_id, asked))
        assert await layer.delete_feedback(kept) is False
        assert [one["feedback"] for one in (await layer.get_thread(thread_id))["steps"]] == [None]
    assert await last_votes(layer, answered["id"]) == [
        (1, None, None), (0, "no", None), (0, "no", ["wrong"]), (0, "no, no", ["wrong"]),
    ]  # fmt: skip
    with datalayer.acting_as("alice"):
        await layer.delete_thread(thread_id)
    assert await last_votes(layer, answered["id"]) == []


async def test_the_history_of_an_adopted_vote_is_kept_when_its_step_is_deleted(layer: ChainlitLayer) -> None:
    _, step_id = await answer(layer)
    with datalayer.acting_as("alice"):
        await layer.upsert_feedback(vote(step_id, 0, "no"))
    async with layer.database.write() as connection:
        # As written by Chainlit's own layer: without a time and without a history.
        await connection.execute(update(feedbacks).values(updatedAt=None))
        await connection.execute(delete(feedback_changes))
    with datalayer.acting_as("alice"):
        await layer.delete_step(step_id)
    assert await last_votes(layer, step_id) == [(0, "no", None)]


async def test_a_withdrawn_vote_stays_withdrawn_when_its_step_is_deleted(layer: ChainlitLayer) -> None:
    _, step_id = await answer(layer)
    with datalayer.acting_as("alice"):
        await layer.delete_feedback(await layer.upsert_feedback(vote(step_id, 0, "no")))
        await layer.delete_step(step_id)
    assert [value for value, *_ in await last_votes(layer, step_id)] == [0, None]


async def test_other_users_cannot_cast_or_change_a_vote(layer: ChainlitLayer) -> None:
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


async def test_without_users_a_step_has_one_vote(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None)
    written = step(thread_id)
    await layer.create_step(written)
    first = await layer.upsert_feedback(vote(written["id"], 1))
    assert await layer.upsert_feedback(vote(written["id"], 0)) == first
    assert (await layer.get_thread(thread_id))["steps"][0]["feedback"]["value"] == 0


async def test_a_user_without_a_row_has_one_vote(layer: ChainlitLayer) -> None:
    with datalayer.acting_as("nobody's row"):
        written = step(new_id())
        await layer.create_step(written)
        first = await layer.upsert_feedback(vote(written["id"], 1))
        assert await layer.upsert_feedback(vote(written["id"], 0)) == first
        assert (await layer.get_thread(written["threadId"]))["steps"][0]["feedback"]["value"] == 0
    with datalayer.acting_as("another"), pytest.raises(datalayer.NotFound):
        await layer.upsert_feedback(vote(written["id"], 1))


@pytest.mark.parametrize("value", [2, -1])
async def test_an_invalid_vote_is_refused(layer: ChainlitLayer, value: int) -> None:
    _, step_id = await answer(layer)
    ballot = vote(step_id, 1)
    object.__setattr__(ballot, "value", value)
    with pytest.raises(datalayer.InvalidRecord):
        await layer.upsert_feedback(ballot)


async def test_a_vote_on_a_missing_step_is_refused(layer: ChainlitLayer) -> None:
    with pytest.raises(datalayer.NotFound):
        await layer.upsert_feedback(vote(new_id(), 1))
    with pytest.raises(datalayer.InvalidRecord):
        await layer.upsert_feedback(vote("no uuid", 1))
    assert await layer.delete_feedback(new_id()) is False
    assert await layer.delete_feedback("no uuid") is False
