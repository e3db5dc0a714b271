"""Claims of threads: one turn has a thread at a time, over all processes, and a dead process loses its claims."""

import asyncio

import pytest
from sqlalchemy import select, update

import datalayer
from datalayer import Forbidden, InvalidRecord, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.schema.turns import turn_claims
from tests.support.records import new_id, step, thread, user_id


async def test_one_turn_has_a_thread(layer: ChainlitLayer, database_url: str) -> None:
    other, thread_id = datalayer.create_data_layer(database_url), new_id()
    holders = [new_id() for _ in range(10)]
    claimed = await asyncio.gather(
        *((layer, other)[at % 2].claim_turn(thread_id, holder, 60) for at, holder in enumerate(holders))
    )
    assert sum(claimed) == 1
    holder = holders[claimed.index(True)]
    assert await other.claim_turn(thread_id, holder, 60), "its own"
    assert await layer.claim_turn(new_id(), new_id(), 60), "another thread"
    await layer.release_turn(new_id())
    assert not await other.claim_turn(thread_id, new_id(), 60)
    await layer.release_turn(holder)
    assert await other.claim_turn(thread_id, new_id(), 60)
    await other.close()


async def test_a_claim_that_nobody_keeps_ends(layer: ChainlitLayer) -> None:
    dead, alive, late = new_id(), new_id(), new_id()
    threads = {holder: new_id() for holder in (dead, alive)}
    for holder, thread_id in threads.items():
        assert await layer.claim_turn(thread_id, holder, 60)
    async with layer.database.write() as connection:
        await connection.execute(update(turn_claims).values(until=turn_claims.c.until - 61))
    assert await layer.keep_turns([alive, new_id()], 60) == {alive: False}
    assert not await layer.claim_turn(threads[alive], late, 60)
    async with layer.database.read() as connection:
        assert (await connection.execute(select(turn_claims.c.holder))).scalars().all() == [alive], "rows of ended ones"
    assert await layer.claim_turn(threads[dead], late, 60)
    async with layer.database.write() as connection:
        await connection.execute(update(turn_claims).values(until=turn_claims.c.until - 61))
    assert await layer.claim_turn(threads[dead], dead, 60), "taken over without a look at it in between"
    assert await layer.keep_turns([late], 60) == {}


async def test_the_owner_of_a_thread_stops_its_turn(layer: ChainlitLayer) -> None:
    thread_id, holder, later = await thread(layer, await user_id(layer, "alice")), new_id(), new_id()
    await user_id(layer, "bob")
    with acting_as("alice"):
        assert await layer.stop_turn(thread_id) is None, "no turn has it"
    assert await layer.claim_turn(thread_id, holder, 60)
    for actor in ("bob", None):
        with acting_as(actor):
            assert await layer.stop_turn(thread_id) is None
    assert await layer.keep_turns([holder], 60) == {holder: False}
    with acting_as("alice"):
        assert await layer.stop_turn(thread_id, later) is None, "another turn"
        assert [await layer.stop_turn(thread_id), await layer.stop_turn(thread_id, holder)] == [holder, holder]
    assert await layer.keep_turns([holder], 60) == {holder: True}
    async with layer.database.write() as connection:
        await connection.execute(update(turn_claims).values(until=turn_claims.c.until - 61))
    with acting_as("alice"):
        assert await layer.stop_turn(thread_id) is None, "its process died"
    assert await layer.claim_turn(thread_id, later, 60), "taken over"
    assert await layer.keep_turns([later], 60) == {later: False}
    assert await layer.stop_turn(thread_id) == later, "the system"


async def test_claims_go_with_their_thread_and_are_for_the_system(layer: ChainlitLayer) -> None:
    thread_id, holder = await thread(layer, await user_id(layer, "alice")), new_id()
    assert await layer.claim_turn(thread_id, holder, 60)
    other_id = await thread(layer, await user_id(layer, "alice"))
    assert await layer.deleted_among([thread_id, other_id]) == set()
    assert (await layer.delete_thread_with_receipt(thread_id)).rows["turn_claims"] == 1
    assert await layer.deleted_among([thread_id, other_id, new_id()]) == {thread_id}
    with pytest.raises(InvalidRecord):
        await layer.claim_turn("no id", holder, 60)
    for actor in ("alice", None):
        with acting_as(actor):
            for call in (
                layer.claim_turn(thread_id, holder, 60),
                layer.keep_turns([holder], 60),
                layer.release_turn(holder),
                layer.deleted_among([thread_id]),
            ):
                with pytest.raises(Forbidden):
                    await call


async def test_a_thread_tells_that_its_messages_have_changed_and_whether_a_turn_has_it(
    layer: ChainlitLayer,
) -> None:
    first, second = [await thread(layer, await user_id(layer, "alice")) for _ in range(2)]
    holder, seen = new_id(), []

    async def looked() -> bool:
        """Whether the first thread has changed since the last look, and the second one has not."""
        found = await layer.thread_changes([first, second, new_id()])
        assert found.keys() == {first, second}
        seen.append((found[first], found[second]))
        return len(seen) == 1 or (seen[-1][0] != seen[-2][0] and seen[-1][1] == seen[-2][1])

    assert await looked()
    assert not await looked()
    written = step(first, "words")
    await layer.create_step(written)
    assert await looked()
    await layer.update_step({**written, "output": "other words"})
    assert await looked()
    await layer.delete_step(written["id"])
    assert await looked()
    assert await layer.claim_turn(first, holder, 60)
    assert await looked()
    assert seen[-1][0].is_claimed
    await layer.release_turn(holder)
    assert await looked()
    whole = await layer.get_thread(first)
    assert len(whole["steps"]) == seen[-1][0].steps
