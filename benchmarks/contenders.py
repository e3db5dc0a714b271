"""The contenders: each layer behind the same few methods, on its own database with the same history."""

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import asyncpg
from chainlit.data.base import BaseDataLayer
from chainlit.data.chainlit_data_layer import ChainlitDataLayer
from chainlit.data.sql_alchemy import SQLAlchemyDataLayer
from chainlit.types import Pagination, ThreadFilter

import datalayer
from benchmarks import data
from benchmarks.floor import Floor
from datalayer.chainlit_layer import ChainlitLayer

PAGE_SIZE = 20


@dataclass(frozen=True)
class Found:
    """The threads of one page, and the cursor of the next page."""

    ids: tuple[str, ...]
    cursor: Any


class Contender(Protocol):
    name: str

    async def write(self, step: dict[str, Any], *, created: bool) -> None: ...
    async def begin(self, thread_id: str, name: str) -> None: ...
    async def page(
        self, cursor: Any = None, *, vote: int | None = None, word: str | None = None, user_id: str = data.USER_ID
    ) -> Found: ...
    async def thread(self, thread_id: str) -> tuple[int, int]: ...
    async def catch_up(self) -> None: ...
    async def close(self) -> None: ...


class Raw:
    name = "floor"

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    async def write(self, step: dict[str, Any], *, created: bool) -> None:  # noqa: ARG002
        await self._floor.write_step(step)

    async def begin(self, thread_id: str, name: str) -> None:
        await self._floor.write_thread(thread_id, name)

    async def page(
        self, cursor: Any = None, *, vote: int | None = None, word: str | None = None, user_id: str = data.USER_ID
    ) -> Found:
        after = {"after": cursor} if cursor else {}
        rows = await self._floor.page(PAGE_SIZE, **after, vote=vote, word=word, user_id=user_id)
        last = (rows[-1]["updatedAt"], rows[-1]["id"]) if rows else None
        return Found(tuple(str(row["id"]) for row in rows), last)

    async def thread(self, thread_id: str) -> tuple[int, int]:
        """The number of its steps and elements."""
        found = await self._floor.thread(thread_id)
        return len(found["steps"]), len(found["elements"])

    async def catch_up(self) -> None:
        """Nothing to wait for: this contender updates its indexes within its writes."""

    async def close(self) -> None:
        await self._floor.close()


class Layer:
    """A data layer for Chainlit: ours, or one of Chainlit's."""

    def __init__(self, name: str, layer: BaseDataLayer, close: Callable[[], Any]) -> None:
        self.name, self._layer, self._close = name, layer, close

    async def write(self, step: dict[str, Any], *, created: bool) -> None:
        # A copy, because one of the layers changes its arguments.
        await (self._layer.create_step if created else self._layer.update_step)({**step})

    async def begin(self, thread_id: str, name: str) -> None:
        await self._layer.update_thread(thread_id, name=name, user_id=data.USER_ID)

    async def page(
        self, cursor: Any = None, *, vote: int | None = None, word: str | None = None, user_id: str = data.USER_ID
    ) -> Found:
        wanted = ThreadFilter(userId=user_id, feedback=vote, search=word)  # type: ignore[arg-type]
        found = await self._layer.list_threads(Pagination(first=PAGE_SIZE, cursor=cursor), wanted)
        return Found(tuple(thread["id"] for thread in found.data), found.pageInfo.endCursor)

    async def thread(self, thread_id: str) -> tuple[int, int]:
        found = await self._layer.get_thread(thread_id)
        return (len(found["steps"]), len(found["elements"] or ())) if found else (0, 0)

    async def catch_up(self) -> None:
        """Wait until the search finds everything written."""
        if isinstance(self._layer, ChainlitLayer):
            await self._layer.search_indexer.finish()

    async def close(self) -> None:
        await self._close()


async def open_floor(url: str) -> Contender:
    floor = Floor(url)
    await floor.open()
    return Raw(floor)


async def open_ours(url: str) -> Contender:
    ours = datalayer.create_data_layer(url)
    return Layer("ours", ours, ours.close)


async def open_sqlalchemy(url: str) -> Contender:
    layer = SQLAlchemyDataLayer(url.replace("postgresql://", "postgresql+asyncpg://"))
    return Layer("official SQLAlchemy", layer, layer.engine.dispose)


async def open_asyncpg(url: str) -> Contender:
    layer = ChainlitDataLayer(url)
    await layer.connect()
    return Layer("official asyncpg", layer, layer.cleanup)


_TABLES = {
    "floor": (data.FLOOR_SCHEMA, data.FLOOR_INDEXES),
    "sqlalchemy": (data.SQLALCHEMY_SCHEMA, ""),
    "asyncpg": (data.ASYNCPG_SCHEMA, data.ASYNCPG_INDEXES),
    # Our layer adopts a database of Chainlit's layer: its migrations create everything derived from texts.
    "ours": (data.SQLALCHEMY_SCHEMA, ""),
}


async def fill(url: str, kind: str, threads: int) -> None:
    """Create the tables of a contender in an empty database, with a history of this many threads."""
    schema, indexes = _TABLES[kind]
    is_prisma = kind == "asyncpg"
    rows = data.asyncpg_history(threads) if is_prisma else data.history(threads, updated_at=kind == "floor")
    connection = await asyncpg.connect(url)
    try:
        for statement in filter(None, (schema, rows, indexes)):
            await connection.execute(statement)
    finally:
        await connection.close()
    if kind == "ours":
        ours = datalayer.create_data_layer(url)
        await ours.migrate()
        # Existing texts are indexed in the background; the measurements start after that.
        await ours.search_indexer.finish()
        await ours.close()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("VACUUM ANALYZE")
        # Now, so that it does not run during a measurement.
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


OPENERS = {"floor": open_floor, "ours": open_ours, "sqlalchemy": open_sqlalchemy, "asyncpg": open_asyncpg}


def new_step(thread_id: str, text: str | None = None) -> dict[str, Any]:
    """A message of this moment that all layers can store. Without `text`, it has 2 kB without any word."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "id": str(uuid.uuid4()),
        "name": "bench",
        "type": "assistant_message",
        "threadId": thread_id,
        "streaming": False,
        "metadata": {"model": "none"},
        "output": text or secrets.token_hex(1024),
        "createdAt": now,
        "start": now,
        "end": now,
    }
