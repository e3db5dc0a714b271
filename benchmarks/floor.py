"""The floor: the minimum cost of the work, hand-written for one schema with asyncpg.

Prepared statements, the right indexes, one round trip per operation; no ownership checks, queue, retries or search
beyond trigrams. It is not a usable layer, only a baseline for the measurements.
"""

import asyncio
import json
from typing import Any

import asyncpg

from benchmarks.data import USER, USER_ID

CONNECTIONS = 10
_COLUMNS = ("id", "name", "type", "threadId", "streaming", "metadata", "output", "createdAt", "start", "end")
_NAMES = ", ".join(f'"{column}"' for column in _COLUMNS)
_VALUES = ", ".join(f"${number}" for number in range(1, len(_COLUMNS) + 1))
_CHANGES = ", ".join(f'"{column}" = excluded."{column}"' for column in _COLUMNS if column not in ("id", "threadId"))

_WRITE = f"""
WITH touched AS (
    INSERT INTO threads (id, "createdAt", "updatedAt", "userId", "userIdentifier")
    VALUES ($4, $8, $8, '{USER_ID}', '{USER}')
    ON CONFLICT (id) DO UPDATE SET "updatedAt" = excluded."updatedAt" WHERE threads."updatedAt" < excluded."updatedAt"
)
INSERT INTO steps ({_NAMES}) VALUES ({_VALUES}) ON CONFLICT (id) DO UPDATE SET {_CHANGES}
"""
_BEGIN = f"""
INSERT INTO threads (id, name, "userId", "userIdentifier", "createdAt", "updatedAt")
VALUES ($1, $2, '{USER_ID}', '{USER}', $3, $3)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, "userId" = excluded."userId",
    "userIdentifier" = excluded."userIdentifier"
"""
_PAGE = """
SELECT * FROM threads t WHERE "userId" = $1 AND ("updatedAt", id) < ($2, $3) {condition}
ORDER BY "updatedAt" DESC, id DESC LIMIT $4
"""
_VOTED = 'AND EXISTS (SELECT FROM feedbacks f WHERE f."threadId" = t.id AND f.value = $5)'
# An array, so that the search runs once. Otherwise the planner can choose to run it once per thread.
_HOLDS = """
AND t.id = ANY (ARRAY(
    SELECT n.id FROM threads n WHERE n.name ILIKE $5 UNION SELECT s."threadId" FROM steps s WHERE s.output ILIKE $5
))
"""
_THREAD = """
SELECT to_json(t),
    (SELECT json_agg(x ORDER BY x."createdAt", x.id) FROM (
        SELECT s.*, f.id AS vote, f.value, f.comment FROM steps s LEFT JOIN feedbacks f ON f."forId" = s.id
        WHERE s."threadId" = $1) x),
    (SELECT json_agg(e) FROM elements e WHERE e."threadId" = $1)
FROM threads t WHERE id = $1
"""
_LAST = ("9999", "ffffffff-ffff-ffff-ffff-ffffffffffff")


class Floor:
    """Ten connections with prepared statements."""

    def __init__(self, url: str) -> None:
        self._url = url
        # Reuse the last connection first: its plans exist and its caches are warm.
        self._free: asyncio.LifoQueue[dict[str, Any]] = asyncio.LifoQueue()
        self._connections: list[Any] = []

    async def open(self) -> None:
        statements = {
            "write": _WRITE,
            "begin": _BEGIN,
            "page": _PAGE.format(condition=""),
            "voted": _PAGE.format(condition=_VOTED),
            "holds": _PAGE.format(condition=_HOLDS),
            "thread": _THREAD,
        }
        for _ in range(CONNECTIONS):
            connection = await asyncpg.connect(self._url, server_settings={"jit": "off"})
            self._connections.append(connection)
            prepared = {name: await connection.prepare(sql) for name, sql in statements.items()}
            # Preparing leaves the connection in a transaction with locks on the tables; this ends the transaction.
            await connection.execute("SELECT 1")
            self._free.put_nowait(prepared)

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()

    async def write_step(self, step: dict[str, Any]) -> None:
        values = [step[column] for column in _COLUMNS]
        values[_COLUMNS.index("metadata")] = json.dumps(step["metadata"])
        await self._fetch("write", *values)

    async def write_thread(self, thread_id: str, name: str) -> None:
        await self._fetch("begin", thread_id, name, "2025-06-01T12:00:00.000000Z")

    async def page(
        self,
        first: int,
        after: tuple[str, str] = _LAST,
        vote: int | None = None,
        word: str | None = None,
        user_id: str = USER_ID,
    ) -> list[dict[str, Any]]:
        """Threads of a user, last activity first."""
        name, more = ("voted", [vote]) if vote is not None else ("holds", [f"%{word}%"]) if word else ("page", [])
        return [dict(row) for row in await self._fetch(name, user_id, *after, first + 1, *more)][:first]

    async def thread(self, thread_id: str) -> dict[str, Any]:
        thread, steps, elements = (json.loads(part) for part in (await self._fetch("thread", thread_id))[0])
        return {**thread, "steps": steps, "elements": elements}

    async def _fetch(self, name: str, *values: Any) -> Any:
        statements = await self._free.get()
        try:
            return await statements[name].fetch(*values)
        finally:
            self._free.put_nowait(statements)
