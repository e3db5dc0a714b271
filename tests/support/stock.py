"""Databases that Chainlit's own data layers have filled, with the schemas from Chainlit's documentation."""

import asyncio
from typing import Any

from chainlit.context import init_http_context
from chainlit.data.chainlit_data_layer import ChainlitDataLayer
from chainlit.data.sql_alchemy import SQLAlchemyDataLayer
from chainlit.data.storage_clients.base import BaseStorageClient
from chainlit.element import Text
from chainlit.types import Feedback
from chainlit.user import User
from chainlit.utils import utc_now
from sqlalchemy import MetaData, insert, select, table, text

from datalayer.database import Database
from tests.migration.test_migrations import described
from tests.support.records import new_id

_USERS = '"id" UUID PRIMARY KEY, "identifier" TEXT NOT NULL UNIQUE, "metadata" JSONB NOT NULL, "createdAt" TEXT'
_THREADS = (
    '"id" UUID PRIMARY KEY, "createdAt" TEXT, "name" TEXT, "userId" UUID, "userIdentifier" TEXT, "tags" TEXT[], '
    '"metadata" JSONB, FOREIGN KEY ("userId") REFERENCES users("id") ON DELETE CASCADE'
)
_STEPS = (
    '"id" UUID PRIMARY KEY, "name" TEXT NOT NULL, "type" TEXT NOT NULL, "threadId" UUID NOT NULL, "parentId" UUID, '
    '"streaming" BOOLEAN NOT NULL, "waitForAnswer" BOOLEAN, "isError" BOOLEAN, "metadata" JSONB, "tags" TEXT[], '
    '"input" TEXT, "output" TEXT, "createdAt" TEXT, "start" TEXT, "end" TEXT, "generation" JSONB, "showInput" TEXT, '
    '"language" TEXT, "indent" INT'
)
_ELEMENTS = (
    '"id" UUID PRIMARY KEY, "threadId" UUID, "type" TEXT, "url" TEXT, "chainlitKey" TEXT, "name" TEXT NOT NULL, '
    '"display" TEXT, "objectKey" TEXT, "size" TEXT, "page" INT, "language" TEXT, "forId" UUID, "mime" TEXT'
)
_VOTES = '"id" UUID PRIMARY KEY, "forId" UUID NOT NULL, "threadId" UUID NOT NULL, "value" INT NOT NULL, "comment" TEXT'
_OF_THREAD = ', FOREIGN KEY ("threadId") REFERENCES threads("id") ON DELETE CASCADE'
SCHEMAS = {
    "older": {
        "users": _USERS,
        "threads": _THREADS,
        "steps": _STEPS + ', "disableFeedback" BOOLEAN NOT NULL DEFAULT false',
        "elements": _ELEMENTS,
        "feedbacks": _VOTES,
    },
    "today": {
        "users": _USERS,
        "threads": _THREADS,
        "steps": _STEPS + ', "command" TEXT, "defaultOpen" BOOLEAN, "modes" JSONB' + _OF_THREAD,
        "elements": _ELEMENTS + ', "props" JSONB' + _OF_THREAD,
        "feedbacks": _VOTES + _OF_THREAD,
    },
}
_STAMPS = '"createdAt" TIMESTAMP(3) NOT NULL DEFAULT now(), "updatedAt" TIMESTAMP(3) NOT NULL DEFAULT now()'
_KINDS = (
    "'assistant_message', 'embedding', 'llm', 'retrieval', 'rerank', 'run', 'system_message', 'tool', 'undefined', "
    "'user_message'"
)
_PRISMA = (
    f'CREATE TYPE "StepType" AS ENUM ({_KINDS})',
    f'CREATE TABLE "User" (id TEXT PRIMARY KEY, {_STAMPS}, metadata JSONB NOT NULL, identifier TEXT NOT NULL UNIQUE)',
    f'CREATE TABLE "Thread" (id TEXT PRIMARY KEY, {_STAMPS}, "deletedAt" TIMESTAMP(3), name TEXT, '
    'metadata JSONB NOT NULL, "userId" TEXT REFERENCES "User", tags TEXT[] DEFAULT ARRAY[]::TEXT[])',
    f'CREATE TABLE "Step" (id TEXT PRIMARY KEY, {_STAMPS}, "parentId" TEXT REFERENCES "Step", '
    '"threadId" TEXT REFERENCES "Thread", input TEXT, metadata JSONB NOT NULL, name TEXT, output TEXT, '
    'type "StepType" NOT NULL, "showInput" TEXT DEFAULT \'json\', "isError" BOOLEAN DEFAULT false, '
    '"startTime" TIMESTAMP(3) NOT NULL, "endTime" TIMESTAMP(3) NOT NULL)',
    f'CREATE TABLE "Element" (id TEXT PRIMARY KEY, {_STAMPS}, "threadId" TEXT REFERENCES "Thread", '
    '"stepId" TEXT NOT NULL REFERENCES "Step", metadata JSONB NOT NULL, mime TEXT, name TEXT NOT NULL, '
    '"objectKey" TEXT, url TEXT, "chainlitKey" TEXT, display TEXT, size TEXT, language TEXT, page INTEGER, '
    "props JSONB)",
    f'CREATE TABLE "Feedback" (id TEXT PRIMARY KEY, {_STAMPS}, "stepId" TEXT REFERENCES "Step", name TEXT NOT NULL, '
    "value DOUBLE PRECISION NOT NULL, comment TEXT)",
)
THREADS = 3


class Nowhere(BaseStorageClient):
    """A storage client that stores nothing. Without one, Chainlit's layer stores no elements."""

    async def upload_file(self, object_key: str, *_: Any, **__: Any) -> dict[str, Any]:
        return {"object_key": object_key, "url": f"https://files.example/{object_key}"}

    async def delete_file(self, object_key: str) -> bool:
        return True

    async def get_read_url(self, object_key: str) -> str:
        return f"https://files.example/{object_key}"

    async def close(self) -> None:
        pass


async def made_by_sqlalchemy_layer(url: str, schema: str, *, dated_now: bool = False) -> None:
    database = Database(url)
    async with database.write() as connection:
        for name, columns in SCHEMAS[schema].items():
            if url.startswith("sqlite"):
                columns = columns.replace("TEXT[]", "TEXT").replace("JSONB", "TEXT").replace("UUID", "TEXT")
            await connection.execute(text(f"CREATE TABLE {name} ({columns})"))
    await database.close()
    driver = url.replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+asyncpg:")
    layer = SQLAlchemyDataLayer(driver, storage_provider=Nowhere())
    await _talk(layer, dated_now=dated_now)
    await layer.close()


async def made_by_asyncpg_layer(url: str, *, dated_now: bool = False) -> None:
    database = Database(url)
    async with database.write() as connection:
        for statement in _PRISMA:
            await connection.execute(text(statement))
    await database.close()
    layer = ChainlitDataLayer(url, storage_client=Nowhere())
    await _talk(layer, dated_now=dated_now)
    assert layer.pool
    await layer.pool.close()


async def _talk(layer: SQLAlchemyDataLayer | ChainlitDataLayer, *, dated_now: bool) -> None:
    """Store threads with one question and one answer, each with a file and a vote; the first thread has two votes.

    The steps are dated 2024, or as Chainlit dates them.
    """
    init_http_context()
    user = await layer.create_user(User(identifier="alice", metadata={"provider": "test"}))
    assert user
    for number in range(THREADS):
        thread_id, question, answer = new_id(), new_id(), new_id()
        await layer.update_thread(thread_id, name=f"thread {number}", user_id=user.id, metadata={"n": number})
        for moment, step_id, kind in ((1, question, "user_message"), (2, answer, "assistant_message")):
            fields: Any = {
                "id": step_id, "threadId": thread_id, "name": "alice", "type": kind, "streaming": False,
                "output": f"{kind} {number}", "input": "", "metadata": {"m": moment}, "isError": False,
                "createdAt": utc_now() if dated_now else f"2024-05-0{number + 1}T10:00:0{moment}.000000Z",
            }  # fmt: skip
            await layer.create_step(fields)
        file: Any = Text(name="notes", content="abc", thread_id=thread_id, for_id=answer, display="side", mime="text/x")
        await layer.create_element(file)
        await layer.upsert_feedback(Feedback(forId=answer, threadId=thread_id, value=0, comment="bad"))
        if number == 0:
            await asyncio.sleep(0.01)
            await layer.upsert_feedback(Feedback(forId=answer, threadId=thread_id, value=1, comment="good"))


async def multiplied(url: str, table_name: str, times: int, **changes: Any) -> None:
    """Insert this many copies of a row of the table, each with a new id."""
    database = Database(url)
    async with database.write() as connection:
        found = MetaData()
        await connection.run_sync(lambda sync: found.reflect(sync, only=[table_name]))
        table = found.tables[table_name]
        row = dict((await connection.execute(select(table).limit(1))).mappings().one()) | changes
        for begun in range(0, times, 1000):
            copies = [row | {"id": new_id()} for _ in range(begun, min(begun + 1000, times))]
            await connection.execute(insert(table), copies)
    await database.close()


async def dump(url: str) -> Any:
    """The schema and all rows, for a comparison before and after."""
    database = Database(url)
    async with database.read() as connection:
        schema = await connection.run_sync(described)
        # Without types, which would take a second look at every table, the values are as the driver gives them.
        rows = {
            name: sorted(repr(tuple(row)) for row in await connection.execute(select("*").select_from(table(name))))
            for name in schema
        }
    await database.close()
    return schema, rows
