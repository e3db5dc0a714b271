"""Histories in a DynamoDB table, to be copied: one that Chainlit's own layer made, and one of our layer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainlit.context import init_http_context
from chainlit.data.dynamodb import DynamoDBDataLayer
from chainlit.data.storage_clients.base import BaseStorageClient
from chainlit.element import Text
from chainlit.types import Feedback
from chainlit.user import User

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from tests.contracts.test_elements import text_element
from tests.support.records import new_id, step, thread, user_id, vote

LONG = "a long text, " * 10_000
ODD = {
    "empty": "",
    "deep": {"list": [1, 2.5, None, {"": "no name"}], "tk:number": "not ours"},
    "many digits": 12345678901234567890123456789012345678901234567890,
    "small": 1e-200,
    "whole": 3.0,
    "true": True,
}


class Folder(BaseStorageClient):
    """A storage client that keeps files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def upload_file(self, object_key: str, data: bytes | str, *_: Any, **__: Any) -> dict[str, Any]:
        path = self._folder / object_key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return {"object_key": object_key, "url": f"https://files.example/{object_key}"}

    async def delete_file(self, object_key: str) -> bool:
        (self._folder / object_key).unlink()
        return True

    async def get_read_url(self, object_key: str) -> str:
        return f"https://files.example/{object_key}"

    async def close(self) -> None:
        pass


@dataclass
class History:
    """The ids of a thread with everything in it."""

    thread_id: str
    question: str
    answer: str
    element: str


async def of_chainlit(table: str, client: Any, files: Path, user: str = "alice") -> History:
    """A history by Chainlit's own layer, which closes with this client."""
    theirs = DynamoDBDataLayer(table, client=client, storage_provider=Folder(files))
    ids = History(new_id(), new_id(), new_id(), "")
    init_http_context(thread_id=ids.thread_id)
    await theirs.create_user(User(identifier=user, metadata={"provider": "test", "n": 1.5}))
    await theirs.update_thread(ids.thread_id, name="theirs", user_id=user, metadata={"a": {"b": 1}}, tags=["x", "y"])
    steps: Any = [
        step(ids.thread_id, "question", id=ids.question, createdAt="2026-01-01T10:00:00Z", ours={"unknown": 1}),
        step(
            ids.thread_id, "answer", id=ids.answer, parentId=ids.question, type="assistant_message",
            createdAt="2026-01-01T10:00:01.250000Z", metadata={"favorite": True}, generation={"tokens": 3, "cost": 0.5},
        ),
    ]  # fmt: skip
    for one in steps:
        await theirs.create_step(one)
    await theirs.upsert_feedback(Feedback(forId=ids.answer, threadId=ids.thread_id, value=0, comment="bad"))
    element: Any = Text(name="notes", content="abc", thread_id=ids.thread_id, for_id=ids.answer, display="side")
    await theirs.create_element(element)
    ids.element = element.id
    return ids


async def of_ours(layer: ChainlitLayer, user: str = "alice") -> History:
    """A history by our layer, with all that it stores."""
    owner = await user_id(layer, user)
    with datalayer.acting_as(user):
        ids = History(await thread(layer, owner, name="ours", metadata=ODD, tags=["", "z"]), new_id(), new_id(), "")
        await layer.create_step(step(ids.thread_id, LONG, id=ids.question, input="", ours=ODD, metadata=ODD))
        answer = step(ids.thread_id, "", id=ids.answer, parentId=ids.question, type="assistant_message", showInput=True)
        await layer.create_step(answer)
        await layer.update_step({**answer, "output": "answer", "showInput": "true", "name": 5})
        for value, comment in ((1, "good"), (0, "bad")):
            await layer.upsert_feedback(vote(ids.answer, value, comment))
        await layer.set_step_favorite(answer, True)
        element = text_element(ids.thread_id, ids.answer, "abc")
        await layer.create_element(element)
        ids.element = element.id
        gone = await thread(layer, owner)
        await layer.create_step(step(gone))
        await layer.delete_thread(gone)
    return ids
