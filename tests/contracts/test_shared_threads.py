"""What users get of their own threads, and of those that others shared with them."""

import pytest
from chainlit.element import File

import datalayer
from datalayer import ExcerptPart, ThreadHeading
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.records import listed, new_id, opened, step, thread, user_id, vote
from tests.support.reviewing import talk


async def test_shared_threads_are_listed_while_they_are_shared(layer: ChainlitLayer) -> None:
    alice = await user_id(layer, "alice")
    await user_id(layer, "bob")
    shared = await thread(layer, alice, "shared", metadata={"is_shared": True, "shared_at": "2026-11-20T10:00:00Z"})
    await thread(layer, alice, "not shared", metadata={"is_shared": False})
    await thread(layer, alice, "a thread")
    with datalayer.acting_as("alice"):
        (found,) = await layer.shared_threads()
        assert (found.id, found.name, found.shared_at) == (shared, "shared", "2026-11-20T10:00:00Z")
        await layer.update_thread(shared, metadata={"is_shared": None, "shared_at": None})
        assert await layer.shared_threads() == []
    for other in ("bob", None, datalayer.SYSTEM):
        with datalayer.acting_as(other):
            assert await layer.shared_threads() == []


async def test_users_get_only_the_names_of_their_own_threads(layer: ChainlitLayer) -> None:
    own, other = (
        await thread(layer, await user_id(layer, "alice"), "mine"),
        await thread(layer, await user_id(layer, "bob")),
    )
    with datalayer.acting_as("alice"):
        assert await layer.names_of_threads([own, other, new_id(), "nonsense"]) == {own: "mine"}
        assert await layer.names_of_threads([]) == {}


async def test_everyone_who_may_read_a_thread_gets_its_heading(layer: ChainlitLayer) -> None:
    alice = await user_id(layer, "alice")
    await user_id(layer, "bob")
    sharing = {"is_shared": True, "shared_at": "2026-11-20T10:00:00Z"}
    shared, kept = await thread(layer, alice, "shared", metadata=sharing), await thread(layer, alice, "mine")
    with datalayer.acting_as("alice"):
        assert await layer.heading_of_thread(kept) == ThreadHeading(kept, "mine", "alice", True, False, None)
    with datalayer.acting_as("bob"):
        heading = ThreadHeading(shared, "shared", "alice", False, True, "2026-11-20T10:00:00Z")
        assert await layer.heading_of_thread(shared) == heading
        assert [await layer.heading_of_thread(one) for one in (kept, new_id(), "nonsense")] == [None, None, None]
    with datalayer.acting_as(None):
        assert await layer.heading_of_thread(shared) is None


async def test_the_copy_of_a_shared_thread_has_what_its_readers_see(layer: ChainlitLayer) -> None:
    turn = await talk(
        layer,
        thumb=0,
        answer_fields={"metadata": {"status": "stopped", "model": "secret", "favorite": True}},
        metadata={"is_shared": True, "shared_at": "2026-11-20T10:00:00Z", "chat_settings": {"system_prompt": "secret"}},
        tags=["secret"],
    )
    bob = await user_id(layer, "bob")
    with datalayer.acting_as("alice"):
        file = File(name="notes.txt", content=b"notes", for_id=turn.question, thread_id=turn.thread)
        await layer.create_element(file)
    with datalayer.acting_as("bob"):
        copy_id = await layer.copy_shared_thread(turn.thread, shown_metadata=("status",))
        copy = await layer.get_thread(copy_id)
        assert (copy["userId"], copy["metadata"], copy["tags"]) == (bob, {}, None)
        assert [(one["type"], one["output"]) for one in copy["steps"]] == [
            ("user_message", "what is the capital of France"),
            ("run", ""),
            ("assistant_message", "It is Lyon."),
        ]
        answer = copy["steps"][2]
        assert (answer["metadata"], answer["parentId"], answer["feedback"]) == (
            {"status": "stopped"},
            copy["steps"][1]["id"],
            None,
        )
        (element,) = copy["elements"]
        assert element["forId"] == copy["steps"][0]["id"]
        assert await opened(layer, copy_id, element["id"]) is not None
        # A copy is found, and its original's owner keeps nothing in it.
        assert await listed(layer, bob, search="lyon") == [copy_id]
    with datalayer.acting_as("alice"):
        await layer.delete_thread(turn.thread)
        assert await layer.get_thread(copy_id) is None
    with datalayer.acting_as("bob"):
        assert await opened(layer, copy_id, element["id"]) is not None


async def test_a_thread_that_is_not_shared_cannot_be_copied(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    bob = await user_id(layer, "bob")
    for actor in ("bob", None, datalayer.SYSTEM):
        with datalayer.acting_as(actor), pytest.raises(datalayer.NotFound):
            await layer.copy_shared_thread(turn.thread)
    with datalayer.acting_as("bob"):
        assert await listed(layer, bob) == []


async def test_a_vote_on_an_answer_is_stored_on_its_run(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    with datalayer.acting_as("alice"):
        assert await layer.vote_on_answer(turn.answer, 0) == turn.run
        await layer.upsert_feedback(vote(turn.run, 0, "wrong"))
        # A second click, or a request that comes late, takes nothing away.
        assert await layer.vote_on_answer(turn.answer, 0) == turn.run
        assert await votes_of(layer, turn.thread) == [(turn.run, 0, "wrong")]
        assert await layer.vote_on_answer(turn.answer, 1) == turn.run
        assert await votes_of(layer, turn.thread) == [(turn.run, 1, None)]
        lone = step(turn.thread, "no run", type="assistant_message")
        await layer.create_step(lone)
        assert await layer.vote_on_answer(lone["id"], 1) == lone["id"]
        with pytest.raises(datalayer.InvalidRecord):
            await layer.vote_on_answer(turn.answer, 2)


async def test_only_the_owner_votes_on_an_answer(layer: ChainlitLayer) -> None:
    turn = await talk(layer, metadata={"is_shared": True})
    await user_id(layer, "bob")
    for actor in ("bob", None):
        with datalayer.acting_as(actor):
            assert await layer.vote_on_answer(turn.answer, 1) is None
            assert await layer.vote_on_answer("nonsense", 1) is None
    assert await votes_of(layer, turn.thread) == []


async def test_only_the_owner_casts_the_vote_on_a_removed_step_again(layer: ChainlitLayer) -> None:
    turn = await talk(layer, metadata={"is_shared": True})
    await user_id(layer, "bob")
    with datalayer.acting_as("alice"):
        await layer.upsert_feedback(vote(turn.run, 0, "wrong"))
        await layer.delete_step(turn.run)
    for actor in ("bob", None):
        with datalayer.acting_as(actor):
            assert not await layer.restore_vote(turn.answer, turn.run)
    with datalayer.acting_as("alice"):
        assert not await layer.restore_vote("nonsense", turn.run)
        restored = await layer.restore_vote(turn.answer, turn.run)
        thread = await layer.get_thread(turn.thread)
    assert restored is not None
    assert thread is not None
    (shown,) = [step["feedback"] for step in thread["steps"] if step["feedback"]]
    assert shown == {"id": restored.id, "forId": restored.for_id, "value": 0, "comment": "wrong"}
    assert await votes_of(layer, turn.thread) == [(turn.answer, 0, "wrong")]


async def test_search_results_have_excerpts_of_own_threads_only(layer: ChainlitLayer) -> None:
    turn = await talk(layer, question="Rivers of Asia", answer="The Mekong is long. The mekong flows south.")
    titled = await talk(layer, question="Mekong", answer="Nothing.")
    other = await talk(layer, "bob", question="Mekong of Bob", answer="Nothing.")
    with datalayer.acting_as("alice"):
        found = {one.thread_id: one for one in await layer.excerpts("mek", [turn.thread, titled.thread, other.thread])}
        assert found.keys() == {turn.thread, titled.thread}
        assert found[turn.thread].title == (ExcerptPart("Rivers of Asia"),)
        assert found[turn.thread].text == (
            ExcerptPart("The "),
            ExcerptPart("Mekong", True),
            ExcerptPart(" is long. The "),
            ExcerptPart("mekong", True),
            ExcerptPart(" flows south."),
        )
        assert found[titled.thread].title == found[titled.thread].text == (ExcerptPart("Mekong", True),)
        assert await layer.excerpts("?!", [turn.thread]) == []
        assert await layer.excerpts("mekong", []) == []
    for actor in (None, datalayer.SYSTEM):
        with datalayer.acting_as(actor):
            assert await layer.excerpts("mekong", [turn.thread]) == []


async def test_only_the_owner_gets_earlier_versions_of_messages(layer: ChainlitLayer) -> None:
    turn = await talk(layer, metadata={"is_shared": True})
    await user_id(layer, "bob")
    with datalayer.acting_as("alice"):
        await layer.cut_thread(turn.thread, turn.question)
        (version,) = await layer.message_versions(turn.thread)
        assert (version.step_id, version.change, version.output) == (turn.answer, "removed", "It is Lyon.")
    for actor in ("bob", None):
        with datalayer.acting_as(actor):
            assert await layer.message_versions(turn.thread) == ()


async def votes_of(layer: ChainlitLayer, thread_id: str) -> list[tuple[str, int, str | None]]:
    given = [one["feedback"] for one in (await layer.get_thread(thread_id))["steps"] if one["feedback"]]
    return [(one["forId"], one["value"], one["comment"]) for one in given]
