"""Reads through asyncpg: a small pool of connections of their own, and statements that are compiled once.

People wait most often for a chat to open and for the list of chats. SQLAlchemy's overhead on such a read (its pool,
greenlets, the lookup of the compiled statement, row objects) takes several times as long as the query. The statements
are still built with SQLAlchemy and are the same on both engines.

A connection is opened only if all others are in use. The connection that was used last is used next, because its plans
and caches are warm. Nothing is sent when a connection is returned, because a read leaves no state in it; asyncpg's own
pool resets a connection each time, which doubles the round trips.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import asyncpg
from sqlalchemy import Executable

from datalayer.dialects.postgresql_statements import CompiledStatements
from datalayer.dialects.sqlstates import Meaning, meaning_of
from datalayer.errors import StorageUnavailable

_CLOSE_SECONDS = 2.0
# asyncpg raises the last one when a server that shuts down sends a message before a query.
_DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncpg.InternalClientError)


class ReadConnections:
    """A pool of a limited number of connections, for one event loop."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        statements: CompiledStatements,
        *,
        learn: Callable[[object], None],
        most: int,
        timeout_seconds: float,
    ) -> None:
        """
        Args:
            connect: opens one connection.
            learn: gets each error of the server.
            most: the maximum number of connections.
            timeout_seconds: how long a read waits for a connection.
        """
        self._connect = connect
        self._learn = learn
        self._most, self._timeout = most, timeout_seconds
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._free: list[Any] = []
        self._closed = False
        self._statements = statements
        self.in_use = 0
        """The number of connections that are reading."""

    async def fetch(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        """The rows of a statement, as tuples. It is compiled at the first use: keep it and pass new values.

        A dead connection is replaced by a new one, once.

        Raises:
            StorageUnavailable: no connection became free in time.
            asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError: as from asyncpg.
        """
        compiled = self._statements.of(statement)
        sql, arguments = compiled.sql, compiled.arguments(values)
        if self.in_use < self._most:
            self.in_use += 1
        else:
            await self._turn()
        try:
            connection = self._take() or await self._connect()
            try:
                return await self._fetch(connection, sql, arguments)
            except TimeoutError:
                raise  # a slow statement does not mean a dead connection
            except _DRIVER_ERRORS:
                if not connection.is_closed():
                    raise
            return await self._fetch(await self._connect(), sql, arguments)
        finally:
            self._leave()

    async def close(self) -> None:
        """Close the connections; one that is still reading is closed after its read."""
        self._closed = True
        free, self._free = self._free, []
        # The connection is closed even if its last message cannot be sent.
        await asyncio.gather(*(_close(connection) for connection in free), return_exceptions=True)

    async def _fetch(self, connection: Any, sql: str, arguments: list[Any]) -> Sequence[Any]:
        usable = False
        try:
            rows: Sequence[Any] = await connection.fetch(sql, *arguments)
            usable = True
        except asyncpg.PostgresError as error:
            # The server has announced that it closes the connection, which the socket may report later; or the session
            # is not the one that the statement was prepared in.
            usable = meaning_of(error.sqlstate or "") is not Meaning.CONNECTION
            self._learn(error)
            raise
        finally:
            if usable and not self._closed:
                self._free.append(connection)
            else:
                # After a cancellation or time-out, the connection may be in the middle of an answer.
                connection.terminate()
        return rows

    def _take(self) -> Any | None:
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _turn(self) -> None:
        """Wait until another read gives its place to this one. A semaphore would cost every read that finds a place."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._timeout):
                await turn
        except BaseException as error:
            if not turn.cancelled():
                # It got the place in the same moment.
                self._leave()
            if isinstance(error, TimeoutError):
                raise StorageUnavailable("all connections to the database are in use") from None
            raise

    def _leave(self) -> None:
        """Give the place to the read that has waited longest, or free it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.in_use -= 1


async def _close(connection: Any) -> None:
    try:
        await connection.close(timeout=_CLOSE_SECONDS)
    finally:
        connection.terminate()


async def set_up(connection: Any) -> None:
    """Make the connection return ids as strings and JSON as parsed values, as SQLAlchemy's types do."""
    await connection.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str, format="text")
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, schema="pg_catalog", encoder=json.dumps, decoder=_parsed, format="text")


def _parsed(text: str) -> Any:
    # A shortcut, because most metadata is empty.
    return {} if text == "{}" else json.loads(text)
