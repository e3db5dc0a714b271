"""The hot paths of Postgres: step writes and reads through asyncpg, on connections of their own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import Executable
from sqlalchemy.engine.interfaces import Dialect

from datalayer.dialects.lone import LoneStatement
from datalayer.dialects.postgresql_connector import Connector
from datalayer.dialects.postgresql_reads import ReadConnections, set_up
from datalayer.dialects.postgresql_statements import CompiledStatements
from datalayer.dialects.postgresql_steps import StepWriter, in_rounds
from datalayer.dialects.sqlstates import Meaning, meaning_of
from datalayer.records.writes import StepKey, StepWrite

_LOCK = "BEGIN; SELECT FROM threads WHERE id = '{}' FOR UPDATE"


class PostgresConnections:
    """One connection that writes steps and a small pool of reading connections, all opened at the first use."""

    def __init__(self, connector: Connector, compiled_for: Dialect, *, most: int, timeout_seconds: float) -> None:
        """
        Args:
            connector: opens the connections.
            compiled_for: the SQLAlchemy dialect that compiles the statements.
            most: the maximum number of reading connections.
            timeout_seconds: how long a read waits for a connection.
        """
        self._connector = connector
        self._connection: Any = None
        self._is_quiet = False
        self._steps = StepWriter()
        self._statements = CompiledStatements(compiled_for)
        self._reads = ReadConnections(
            self._connect_to_read, self._statements, learn=connector.learn, most=most, timeout_seconds=timeout_seconds
        )

    @property
    def in_use(self) -> int:
        return self._reads.in_use

    async def write_steps(self, writes: Sequence[StepWrite]) -> set[StepKey]:
        refused: set[StepKey] = set()
        for round_ in in_rounds(writes):
            refused |= {one.key for one in round_} - await self._steps.write(self.execute_once, round_)
        return {one.key for one in writes} - refused

    async def write_alone(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        compiled = self._statements.of(statement)
        return compiled.decoded(await self.execute_once(compiled.sql, compiled.encoded(values)))

    async def write_with_thread_locked(
        self, thread_id: str, statement: Executable, values: Mapping[str, Any]
    ) -> Sequence[Any]:
        compiled = self._statements.of(statement)
        async with self._writing() as connection:
            try:
                # One message and so one round trip; such a message has no parameters.
                await connection.execute(_LOCK.format(UUID(thread_id)))
                rows = compiled.decoded(await connection.fetch(compiled.sql, *compiled.encoded(values)))
                await connection.execute("COMMIT")
            except (asyncpg.PostgresError, TimeoutError) as error:
                if not is_lost(error):
                    await connection.execute("ROLLBACK")
                raise
            return rows

    @property
    def is_ready(self) -> bool:
        return self._is_quiet and self._connection is not None and not self._connection.is_closed()

    def step_alone(self, write: StepWrite) -> LoneStatement:
        return self._steps.lone(write)

    def alone(
        self,
        statement: Executable,
        values: Mapping[str, Any],
        result: Callable[[Sequence[Any]], Any],
        thread_id: str | None = None,
    ) -> LoneStatement:
        compiled = self._statements.of(statement)

        def decoded(rows: Sequence[Any]) -> Any:
            if thread_id is not None and rows:
                self._steps.remember(thread_id)
            return result(compiled.decoded(rows))

        return LoneStatement(compiled.sql, compiled.encoded(values), decoded)

    async def execute_once(self, sql: str, values: Sequence[Any]) -> Sequence[Any]:
        """Run one statement, a transaction by itself, on the connection that writes; returns its rows.

        The driver prepares it once per connection, so `sql` should be one of a few fixed texts.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError: as from asyncpg.
        """
        connection = self._connection
        if connection is None or connection.is_closed():
            connection = self._connection = await self._connect()
        # After a failure, the driver may still be cancelling the statement.
        self._is_quiet = False
        try:
            rows: Sequence[Any] = await connection.fetch(sql, *values)
        except asyncio.CancelledError:
            # The driver cancels the statement, and waits for that before the next one, as after a time-out.
            raise
        except BaseException as error:
            self._drop_after(error, connection)
            raise
        self._is_quiet = True
        return rows

    async def fetch(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        return await self._reads.fetch(statement, values)

    async def close(self) -> None:
        await self._reads.close()
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.close(timeout=5)
        self._connection = None

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Any]:
        """The connection for writes; it is dropped if its state is unknown after the block."""
        connection = self._connection
        if connection is None or connection.is_closed():
            connection = self._connection = await self._connect()
        self._is_quiet = False
        try:
            yield connection
        except BaseException as error:
            self._drop_after(error, connection)
            raise
        self._is_quiet = True

    def _drop_after(self, error: BaseException, connection: Any) -> None:
        """Drop the connection for writes if its state is unknown after this error."""
        self._connector.learn(error)
        if not isinstance(error, asyncpg.PostgresError | TimeoutError) or is_lost(error):
            # After a time-out its state is known, because the driver cancels the statement.
            connection.terminate()
            self._connection = None

    async def _connect_to_read(self) -> Any:
        connection = await self._connect()
        try:
            await set_up(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _connect(self) -> Any:
        # A generic plan, because planning the statement for the values of each call costs more than running it. Each of
        # these statements has an index. A kept plan must not scan a whole table: the table may have grown since the
        # plan was made, or be scanned once for each of many rows.
        planning = {"plan_cache_mode": "force_generic_plan", "jit": "off", "enable_seqscan": "off"}
        return await self._connector.connect(planning)


def is_lost(error: object) -> bool:
    """Whether the driver's error, or SQLAlchemy's wrapper of it, means that the connection has ended."""
    cause = getattr(error, "__cause__", None) or error
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        return meaning_of(state) is Meaning.CONNECTION or isinstance(cause, asyncpg.InvalidCachedStatementError)
    # TimeoutError is an OSError too, but may mean a slow statement. The driver raises InternalClientError when a
    # connection ends in the middle of an answer.
    ended = (ConnectionError, socket.gaierror, asyncpg.InternalClientError)
    return isinstance(cause, ended) or "connection is closed" in str(cause)
