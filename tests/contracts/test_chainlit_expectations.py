"""What Chainlit 2.12 expects of a SQL data layer, as its own tests of its SQLAlchemy layer show.

Chainlit's fifteenth test is of `get_current_timestamp`, a helper of its own layer. The ids here are UUIDs.
"""

import uuid
from typing import Any

import pytest
from chainlit.context import init_http_context
from chainlit.element import Text
from chainlit.user import User

from datalayer.chainlit_layer import ChainlitLayer
from tests.support.records import new_id, user_id


async def stored(layer: ChainlitLayer, thread_id: str) -> tuple[Any, Any]:
    """The name and the metadata of the thread."""
    found = await layer.get_thread(thread_id)
    return found["name"], found["metadata"]


async def test_an_element_of_a_thread_that_does_not_exist_yet_is_read_back(layer: ChainlitLayer) -> None:
    init_http_context(thread_id=new_id())
    element = Text(name="notes.txt", mime="text/plain", content="some notes", for_id=new_id())
    await layer.create_element(element)
    found = await layer.get_element(element.thread_id, element.id)
    assert found is not None
    assert (found["id"], found["name"], found["mime"]) == (element.id, "notes.txt", "text/plain")


async def test_a_user_is_found_by_the_identifier(layer: ChainlitLayer) -> None:
    created = await layer.create_user(User(identifier="alice", metadata={}))
    found = await layer.get_user("alice")
    assert found is not None
    assert (found.id, found.createdAt) == (created.id, created.createdAt)
    assert await layer.get_user("nobody") is None


async def test_a_new_user_gets_an_id_and_a_time(layer: ChainlitLayer) -> None:
    created = await layer.create_user(User(identifier="alice", metadata={}))
    assert (created.identifier, str(uuid.UUID(created.id))) == ("alice", created.id)
    assert created.createdAt


async def test_an_update_without_fields_is_accepted(layer: ChainlitLayer) -> None:
    await user_id(layer, "alice")
    await layer.update_thread(new_id())


async def test_an_update_with_a_user_makes_a_thread_of_this_author(layer: ChainlitLayer) -> None:
    thread_id = new_id()
    await layer.update_thread(thread_id, user_id=await user_id(layer, "alice"))
    assert await layer.get_thread_author(thread_id) == "alice"


async def test_an_update_without_fields_makes_the_thread(layer: ChainlitLayer) -> None:
    thread_id = new_id()
    await layer.update_thread(thread_id)
    assert (await layer.get_thread(thread_id))["id"] == thread_id
    assert await layer.get_thread(new_id()) is None


async def test_a_deleted_thread_is_not_found(layer: ChainlitLayer) -> None:
    thread_id = new_id()
    await layer.update_thread(thread_id, "a name")
    await layer.delete_thread(thread_id)
    assert await layer.get_thread(thread_id) is None


@pytest.mark.parametrize(
    ("given", "kept"), [(None, {}), ({}, {}), ({"key": "value", "count": 42}, {"key": "value", "count": 42})]
)
async def test_a_new_thread_has_the_given_metadata_or_an_empty_object(
    layer: ChainlitLayer, given: dict[str, Any] | None, kept: dict[str, Any]
) -> None:
    thread_id = new_id()
    await layer.update_thread(thread_id, metadata=given)
    assert await stored(layer, thread_id) == (None, kept)


@pytest.mark.parametrize(
    ("change", "name", "kept"),
    [
        pytest.param({}, None, {"a": 1, "b": 2}, id="nothing"),
        pytest.param({"metadata": {"a": 3, "c": 4}}, None, {"a": 3, "b": 2, "c": 4}, id="merged"),
        pytest.param({"metadata": {"b": None}}, None, {"a": 1}, id="removed by None"),
        pytest.param({"name": "new"}, "new", {"a": 1, "b": 2}, id="name"),
    ],
)
async def test_a_later_update_keeps_the_metadata_that_it_does_not_change(
    layer: ChainlitLayer, change: dict[str, Any], name: str | None, kept: dict[str, Any]
) -> None:
    thread_id = new_id()
    await layer.update_thread(thread_id, metadata={"a": 1, "b": 2})
    await layer.update_thread(thread_id, **change)
    assert await stored(layer, thread_id) == (name, kept)
