"""Reads that go to asyncpg itself: a small pool of connections of their own, and statements that are compiled once.

A chat that is opened and a list of chats are what people wait for most often, and what SQLAlchemy adds to such a read
(its pool, greenlets, looking up the compiled statement, a row object that asks for each column by name) is several
times what the query takes. The statements are still SQLAlchemy's, the same on both engines.

Connections are opened one by one, when all others are in use, and the one used last is the next: its plans are made and
its caches are warm. Nothing is sent when a connection is given back, for a read leaves nothing behind in it; asyncpg's
own pool resets it each time, which doubles the round trips.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg
from sqlalchemy import Executable
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

from datalayer.errors import StorageUnavailable

_CLOSE_SECONDS = 2.0
_HANGING_UP = ("57P", "08")
# The last is what asyncpg raises where a server that is shut down speaks before it was asked.
_DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncpg.InternalClientError)


class ReadConnections:
    """At most so many connections, for one event loop."""

    def __init__(
        self, connect: Callable[[], Awaitable[Any]], compiled_for: Dialect, *, most: int, timeout_seconds: float
    ) -> None:
        """Nothing is connected to before the first read.

        Args:
            connect: opens one connection.
            compiled_for: SQLAlchemy's dialect of the statements.
            most: how many connections there may be.
            timeout_seconds: how long a read waits for one of them.
        """
        self._connect = connect
        self._compiled_for = compiled_for
        self._timeout = timeout_seconds
        self._room = asyncio.Semaphore(most)
        self._free: list[Any] = []
        self._closed = False
        self._statements: WeakKeyDictionary[Any, tuple[str, tuple[str, ...]]] = WeakKeyDictionary()
        self.in_use = 0
        """How many are reading now."""

    async def fetch(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        """The rows of a statement, which is compiled when it is first seen: keep it, and give its values anew.

        A connection that turns out to be dead is replaced by a fresh one, once.

        Raises:
            StorageUnavailable: every connection is in use, and stayed so.
            asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError: as from asyncpg.
        """
        sql, names = self._compiled(statement)
        arguments = [values[name] for name in names]
        await self._wait()
        self.in_use += 1
        try:
            connection = self._take() or await self._connect()
            try:
                return await self._fetch(connection, sql, arguments)
            except TimeoutError:
                raise  # an answer that takes too long is no dead connection
            except _DRIVER_ERRORS:
                if not connection.is_closed():
                    raise
            return await self._fetch(await self._connect(), sql, arguments)
        finally:
            self.in_use -= 1
            self._room.release()

    async def close(self) -> None:
        """Close the connections; one that is still reading is closed when it is done."""
        self._closed = True
        free, self._free = self._free, []
        # One that cannot say farewell is closed all the same, and there is nobody to whom it matters.
        await asyncio.gather(*(_close(connection) for connection in free), return_exceptions=True)

    async def _fetch(self, connection: Any, sql: str, arguments: list[Any]) -> Sequence[Any]:
        usable = False
        try:
            rows: Sequence[Any] = await connection.fetch(sql, *arguments)
            usable = True
        except asyncpg.PostgresError as error:
            # It has said that it hangs up, which the socket may tell only later.
            usable = not (error.sqlstate or "").startswith(_HANGING_UP)
            raise
        finally:
            if usable and not self._closed:
                self._free.append(connection)
            else:
                # Cancelled or timed out, it may be in the middle of an answer.
                connection.terminate()
        return rows

    def _take(self) -> Any | None:
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _wait(self) -> None:
        """Come in; the way out is `_room.release()`."""
        if not self._room.locked():
            await self._room.acquire()
            return
        try:
            async with asyncio.timeout(self._timeout):
                await self._room.acquire()
        except TimeoutError:
            raise StorageUnavailable("every connection to the database is in use") from None

    def _compiled(self, statement: Executable) -> tuple[str, tuple[str, ...]]:
        found = self._statements.get(statement)
        if found is None:
            compiled = statement.compile(dialect=self._compiled_for)  # type: ignore[attr-defined]
            assert isinstance(compiled, SQLCompiler)
            found = compiled.string, tuple(compiled.positiontup or ())
            self._statements[statement] = found
        return found


async def _close(connection: Any) -> None:
    try:
        await connection.close(timeout=_CLOSE_SECONDS)
    finally:
        connection.terminate()


async def set_up(connection: Any) -> None:
    """Let the connection give ids as texts and JSON as what it means, as SQLAlchemy's types do."""
    await connection.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str, format="text")
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, schema="pg_catalog", encoder=json.dumps, decoder=_parsed, format="text")


def _parsed(text: str) -> Any:
    # Most metadata is empty.
    return {} if text == "{}" else json.loads(text)
