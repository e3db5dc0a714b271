"""The hot paths of Postgres: step writes and reads through asyncpg, on connections of their own."""

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import Executable
from sqlalchemy.engine.interfaces import Dialect

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
        self._steps = StepWriter()
        self._statements = CompiledStatements(compiled_for)
        self._reads = ReadConnections(
            self._connect_to_read, self._statements, learn=connector.learn, most=most, timeout_seconds=timeout_seconds
        )

    @property
    def in_use(self) -> int:
        return self._reads.in_use

    async def write_steps(self, writes: Sequence[StepWrite]) -> set[StepKey]:
        kept: set[StepKey] = set()
        for round_ in in_rounds(writes):
            async with self._writing() as connection:
                kept |= await self._steps.write(connection, round_)
        return kept

    async def write_alone(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        compiled = self._statements.of(statement)
        async with self._writing() as connection:
            return compiled.decoded(await connection.fetch(compiled.sql, *compiled.encoded(values)))

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
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        try:
            yield self._connection
        except BaseException as error:
            self._connector.learn(error)
            if not isinstance(error, asyncpg.PostgresError | TimeoutError) or is_lost(error):
                # After a time-out its state is known, because the driver cancels the statement.
                self._connection.terminate()
                self._connection = None
            raise

    async def _connect_to_read(self) -> Any:
        # Each of these statements has an index. A cached plan must not scan a whole table: the table may have grown
        # since the plan was made, or be scanned once for each of many rows.
        connection = await self._connect(enable_seqscan="off")
        try:
            await set_up(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _connect(self, **settings: str) -> Any:
        # A generic plan, because planning the statement for the values of each call costs more than running it.
        return await self._connector.connect({"plan_cache_mode": "force_generic_plan", "jit": "off", **settings})


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
