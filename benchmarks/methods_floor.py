"""The floor of every method: what the work needs at least, hand-written for one schema, one statement a method.

On Postgres with asyncpg and prepared statements, on SQLite with aiosqlite in autocommit; without ownership checks,
history of votes, review, search, queue, retries or cleaning. Files are stored by our folder store on both sides, so
that a ratio tells what the database costs.
"""

import json
from pathlib import Path
from typing import Any, Protocol

import aiosqlite
import asyncpg

from benchmarks.data import FLOOR_INDEXES, FLOOR_SCHEMA, USER, USER_ID
from datalayer.blobs import BlobOptions, open_blob_store
from tests.support.records import new_id

NOW = "2025-06-01T12:00:00.000000Z"

_MERGED = {
    "postgresql": "coalesce({0}, '{{}}') || $2::jsonb",
    "sqlite": "json_patch(coalesce({0}, '{{}}'), $2)",
}
_IS_FAVORITE = {
    "postgresql": """s.metadata @> '{"favorite": true}'""",
    "sqlite": "s.metadata ->> 'favorite' = 1",
}
_FAVORITES = """CREATE INDEX ON steps ("threadId") WHERE metadata @> '{"favorite": true}';"""


def _statements(engine: str) -> dict[str, str]:
    threads, steps, users = (_MERGED[engine].format(f"{table}.metadata") for table in ("threads", "steps", "users"))
    return {
        "get_user": "SELECT * FROM users WHERE identifier = $1",
        "create_user": f"""INSERT INTO users (identifier, metadata, id, "createdAt") VALUES ($1, $2, $3, '{NOW}')
            ON CONFLICT (identifier) DO UPDATE SET metadata = {users} RETURNING *""",
        "get_thread_author": 'SELECT "userIdentifier" FROM threads WHERE id = $1',
        "get_thread": """SELECT * FROM threads t LEFT JOIN steps s ON s."threadId" = t.id
            LEFT JOIN feedbacks f ON f."forId" = s.id WHERE t.id = $1 ORDER BY s."createdAt", s.id""",
        "list_threads": """SELECT * FROM threads WHERE "userId" = $1 ORDER BY "updatedAt" DESC, id DESC LIMIT 21""",
        "update_thread": f"""INSERT INTO threads (id, name, "userId", "userIdentifier", "createdAt", "updatedAt")
            VALUES ($1, $2, '{USER_ID}', '{USER}', '{NOW}', '{NOW}')
            ON CONFLICT (id) DO UPDATE SET name = excluded.name""",
        "update_metadata": f"UPDATE threads SET metadata = {threads} WHERE id = $1",
        "delete_thread": "DELETE FROM threads WHERE id = $1",
        "write_step": f"""INSERT INTO steps (id, "threadId", output, name, type, streaming, metadata, "createdAt")
            VALUES ($1, $2, $3, 'bench', 'assistant_message', false, '{{}}', '{NOW}')
            ON CONFLICT (id) DO UPDATE SET output = excluded.output""",
        "delete_step": "DELETE FROM steps WHERE id = $1",
        "get_favorite_steps": f"""SELECT s.* FROM steps s JOIN threads t ON t.id = s."threadId"
            WHERE t."userId" = $1 AND {_IS_FAVORITE[engine]} ORDER BY s."createdAt" DESC""",
        "set_step_favorite": f"UPDATE steps SET metadata = {steps} WHERE id = $1",
        "upsert_feedback": """INSERT INTO feedbacks (id, "forId", "threadId", value, comment)
            VALUES ($1, $2, $3, $4, NULL) ON CONFLICT (id) DO UPDATE SET value = excluded.value""",
        "delete_feedback": "DELETE FROM feedbacks WHERE id = $1",
        "create_element": """INSERT INTO elements (id, "threadId", "forId", "objectKey", name, mime, display)
            VALUES ($1, $2, $3, $4, 'notes.txt', 'text/plain', 'inline')
            ON CONFLICT (id) DO UPDATE SET "objectKey" = excluded."objectKey" """,
        "get_element": "SELECT * FROM elements WHERE id = $1",
        "delete_element": "DELETE FROM elements WHERE id = $1",
    }


class Connection(Protocol):
    """One connection with kept statements."""

    async def run(self, name: str, *values: Any) -> Any: ...
    async def close(self) -> None: ...


class _Postgres:
    def __init__(self, connection: Any, prepared: dict[str, Any]) -> None:
        self._connection, self._prepared = connection, prepared

    async def run(self, name: str, *values: Any) -> Any:
        return await self._prepared[name].fetch(*values)

    async def close(self) -> None:
        await self._connection.close()


class _SQLite:
    def __init__(self, connection: aiosqlite.Connection, statements: dict[str, str]) -> None:
        self._connection, self._statements = connection, statements

    async def run(self, name: str, *values: Any) -> Any:
        return await self._connection.execute_fetchall(self._statements[name], values)

    async def close(self) -> None:
        await self._connection.close()


async def connect_postgresql(url: str) -> Connection:
    """Connect to a database that was filled as `floor` of `benchmarks.contenders`."""
    connection = await asyncpg.connect(url, server_settings={"jit": "off", "plan_cache_mode": "force_generic_plan"})
    await connection.execute(_FAVORITES)
    prepared = {name: await connection.prepare(sql) for name, sql in _statements("postgresql").items()}
    # Preparing leaves the connection in a transaction; this ends it.
    await connection.execute("SELECT 1")
    return _Postgres(connection, prepared)


async def connect_sqlite(path: Path) -> Connection:
    """Create the tables in a new file; without a history."""
    connection = await aiosqlite.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        await connection.execute(f"PRAGMA {pragma}")
    tables = FLOOR_SCHEMA + FLOOR_INDEXES.replace("INDEX ON", "INDEX {} ON")
    for number, statement in enumerate(filter(str.strip, tables.split(";"))):
        await connection.execute(statement.format(f"i{number}"))
    await connection.execute(f"INSERT INTO users (id, identifier, metadata) VALUES ('{USER_ID}', '{USER}', '{{}}')")
    return _SQLite(connection, {name: sql.replace("$", "?") for name, sql in _statements("sqlite").items()})


class Bare:
    """The methods of Chainlit's data layer that the table of `benchmarks.methods` calls, on one connection."""

    def __init__(self, connection: Connection, folder: Path) -> None:
        self._connection, self._run = connection, connection.run
        self._blobs = open_blob_store(f"file://{folder}", BlobOptions())

    async def close(self) -> None:
        await self._connection.close()

    async def get_user(self, identifier: str) -> Any:
        return (await self._run("get_user", identifier))[0]

    async def create_user(self, user: Any) -> Any:
        return (await self._run("create_user", user.identifier, json.dumps(user.metadata), new_id()))[0]

    async def get_thread_author(self, thread_id: str) -> Any:
        return (await self._run("get_thread_author", thread_id))[0][0]

    async def get_thread(self, thread_id: str) -> Any:
        return [tuple(row) for row in await self._run("get_thread", thread_id)]

    async def list_threads(self, _pagination: Any, filters: Any) -> Any:
        return [tuple(row) for row in await self._run("list_threads", filters.userId)]

    async def update_thread(
        self, thread_id: str, name: str | None = None, user_id: str | None = None, metadata: Any = None
    ) -> None:
        assert user_id in (None, USER_ID)
        if metadata is None:
            await self._run("update_thread", thread_id, name)
        else:
            await self._run("update_metadata", thread_id, json.dumps(metadata))

    async def delete_thread(self, thread_id: str) -> None:
        await self._run("delete_thread", thread_id)

    async def create_step(self, step: Any) -> None:
        await self._run("write_step", step["id"], step["threadId"], step["output"])

    update_step = create_step

    async def delete_step(self, step_id: str) -> None:
        await self._run("delete_step", step_id)

    async def get_favorite_steps(self, user_id: str) -> Any:
        return [tuple(row) for row in await self._run("get_favorite_steps", user_id)]

    async def set_step_favorite(self, step: Any, favorite: bool) -> None:
        await self._run("set_step_favorite", step["id"], json.dumps({"favorite": favorite}))

    async def upsert_feedback(self, vote: Any) -> str:
        # One vote a step, so the id of the step can be that of its vote.
        await self._run("upsert_feedback", vote.forId, vote.forId, vote.threadId, vote.value)
        return str(vote.forId)

    async def delete_feedback(self, feedback_id: str) -> None:
        await self._run("delete_feedback", feedback_id)

    async def create_element(self, element: Any) -> None:
        await self._blobs.put(element.id, element.content.encode(), element.mime, name=element.name)
        await self._run("create_element", element.id, element.thread_id, element.for_id, element.id)

    async def get_element(self, _thread_id: str, element_id: str) -> Any:
        return (await self._run("get_element", element_id))[0]

    async def delete_element(self, element_id: str, _thread_id: str) -> None:
        await self._run("delete_element", element_id)
        await self._blobs.delete(element_id)
