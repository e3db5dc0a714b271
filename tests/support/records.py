"""Steps, threads and votes as Chainlit passes them, for tests that set one field."""

import uuid
from collections.abc import Mapping
from typing import Any

from chainlit.types import Feedback, Pagination, ThreadFilter
from chainlit.user import User

from datalayer import Element, acting_as
from datalayer.chainlit_layer import ChainlitLayer


def new_id() -> str:
    return str(uuid.uuid4())


def step(thread_id: str, output: Any = "hello", **fields: Any) -> dict[str, Any]:
    return {
        "id": new_id(),
        "threadId": thread_id,
        "name": "alice",
        "type": "user_message",
        "output": output,
        "streaming": False,
        **fields,
    }


async def user_id(layer: ChainlitLayer, identifier: str) -> str:
    # As during a login, before a user is logged in.
    with acting_as(None):
        return (await layer.create_user(User(identifier=identifier))).id


async def thread(layer: ChainlitLayer, owner_id: str | None, name: str = "a thread", **fields: Any) -> str:
    thread_id = new_id()
    await layer.update_thread(thread_id, name=name, user_id=owner_id, **fields)
    return thread_id


async def page(
    layer: ChainlitLayer, owner_id: str, *, first: int = 20, after: str | None = None, **filters: Any
) -> Any:
    return await layer.list_threads(Pagination(first=first, cursor=after), ThreadFilter(userId=owner_id, **filters))


async def listed(layer: ChainlitLayer, owner_id: str, **filters: Any) -> list[str]:
    return [found["id"] for found in (await page(layer, owner_id, **filters)).data]


def vote(step_id: str, value: Any, comment: str | None = None) -> Feedback:
    return Feedback(forId=step_id, value=value, comment=comment)


async def opened(layer: ChainlitLayer, thread_id: str, element_id: str) -> tuple[Element, bytes] | None:
    """An element with all its bytes."""
    found = await layer.open_element(thread_id, element_id)
    return (found[0], b"".join([chunk async for chunk in found[1]])) if found else None


def without_search(counts: Mapping[str, int]) -> dict[str, int]:
    """Without the tables of the search index and the review, which are filled in the background, and without the marks
    of deleted threads."""
    later = ("search_", "review_pending", "review_answers", "deleted_threads")
    return {name: count for name, count in counts.items() if not name.startswith(later)}
