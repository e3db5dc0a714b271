"""Only the owner sees the list of shared threads and the names of threads."""

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.records import new_id, thread, user_id


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
