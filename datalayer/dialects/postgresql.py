"""Postgres 14 and later, through asyncpg. No extension is needed."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from sqlalchemy import (
    ColumnElement,
    Executable,
    Select,
    Table,
    Text,
    TextClause,
    any_,
    bindparam,
    cast,
    event,
    func,
    literal,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from datalayer.dialects.postgresql_reads import ReadConnections, set_up
from datalayer.dialects.postgresql_steps import StepWriter, in_rounds
from datalayer.dialects.reasons import of_postgresql
from datalayer.errors import ConfigurationError, DataLayerError, InvalidRecord, SchemaError, StorageUnavailable
from datalayer.records import StepKey, StepWrite
from datalayer.schema import FAVORITE_ON_POSTGRESQL

# Any constant will do, as long as every replica takes the same.
_MIGRATION_LOCK = 0x746872656164
_SCHEMA_CLASSES = {"42P01", "42703", "3F000", "42704"}
# Connection, who may come in, which database, deadlock, resources, locks, shutdown, the system's own failures: what
# may be otherwise a moment later, and is no fault of the record.
_PASSING_CLASSES = ("08", "25", "28", "3D", "40", "53", "55", "57", "58", "XX")
# The last is raised where a server that is shut down speaks before it was asked.
_DRIVER_ERRORS = asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError


class PostgreSQL:
    name: ClassVar[str] = "postgresql"
    read_options: ClassVar[dict[str, Any]] = {"isolation_level": "AUTOCOMMIT"}
    row_position: ClassVar[str] = "ctid"
    is_favorite: ClassVar[TextClause] = FAVORITE_ON_POSTGRESQL

    def __init__(self) -> None:
        self._url = ""
        self._connection: Any = None
        self._steps = StepWriter()
        self._reads: ReadConnections

    def create_engine(self, url: str, **options: Any) -> AsyncEngine:
        self._url = _plain_url(url)
        settings: dict[str, Any] = {"pool_size": 10, "max_overflow": 10, "pool_timeout": 10}
        # A command that never answers must not hold a connection for ever; the server is asked to be in UTC.
        connect = {"timeout": 10, "command_timeout": 60, "server_settings": {"application_name": "threadkeeper"}}
        try:
            engine = create_async_engine(_driver_url(url), connect_args=connect, **(settings | options))
        except (ArgumentError, TypeError, ValueError) as error:
            raise ConfigurationError(f"the Postgres URL or an option of it is not understood: {error}") from None
        self._reads = ReadConnections(
            self._connect_to_read,
            engine.dialect,
            # To SQLAlchemy a pool of size 0 has no bound.
            most=(settings | options)["pool_size"] or sys.maxsize,
            timeout_seconds=(settings | options)["pool_timeout"],
        )
        event.listen(engine.sync_engine, "checkout", _on_checkout)
        return engine

    def insert(self, table: Table) -> Any:
        return postgresql_insert(table)

    def merge_json(self, stored: ColumnElement[Any], patch: dict[str, Any]) -> ColumnElement[Any]:
        kept = {key: value for key, value in patch.items() if value is not None}
        removed = [key for key, value in patch.items() if value is None]
        merged: ColumnElement[Any] = func.coalesce(stored, cast(literal({}, JSONB), JSONB)).op("||")(
            cast(bindparam(None, kept, JSONB), JSONB)
        )
        return merged.op("-")(cast(bindparam(None, removed, ARRAY(Text)), ARRAY(Text))) if removed else merged

    def fill_json(
        self, stored: ColumnElement[Any], patch: dict[str, Any], known: Mapping[str, ColumnElement[bool]]
    ) -> ColumnElement[Any]:
        raise NotImplementedError

    def contains(self, column: ColumnElement[Any], words: str) -> ColumnElement[bool]:
        return column.icontains(words, autoescape=True)

    @staticmethod
    def among(column: ColumnElement[Any], ids: Select[Any]) -> ColumnElement[bool]:
        # As an array: of IN the planner may make a join that reads the whole table.
        return column == any_(func.array(ids.scalar_subquery(), type_=ARRAY(column.type)))

    async def lock_migrations(self, connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})

    async def write_steps(self, writes: Sequence[StepWrite]) -> set[StepKey]:
        kept: set[StepKey] = set()
        for round_ in in_rounds(writes):
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            kept |= await self._steps.write(self._connection, round_)
        return kept

    async def fetch(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        return await self._reads.fetch(statement, values)

    @property
    def reading(self) -> int:
        return self._reads.in_use

    async def close(self) -> None:
        await self._reads.close()
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.close(timeout=5)
        self._connection = None

    async def _connect_to_read(self) -> Any:
        # Each of these statements has its index; a plan that was made while a table was small must not read it whole
        # when it has grown, nor read a small one whole for each of many rows.
        connection = await self._connect(enable_seqscan="off")
        try:
            await set_up(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _connect(self, **settings: str) -> Any:
        # One statement, planned once: a plan for each call's values costs more than the statement itself.
        planning = {"plan_cache_mode": "force_generic_plan", "jit": "off", **settings}
        return await asyncpg.connect(
            self._url, timeout=10, command_timeout=60, server_settings={"application_name": "threadkeeper", **planning}
        )

    def translate(self, error: BaseException) -> DataLayerError | None:
        if isinstance(error, PoolTimeoutError):
            return StorageUnavailable("every connection to the database is in use")
        original = error.orig if isinstance(error, DBAPIError) else error
        state = getattr(original, "sqlstate", None)
        if state in _SCHEMA_CLASSES:
            return SchemaError("the database lacks a table or column; bring it up with `migrate`")
        if isinstance(state, str) and not state.startswith(_PASSING_CLASSES):
            return InvalidRecord(f"the database refuses the record ({of_postgresql(original)})")
        if isinstance(error, DBAPIError) and not error.connection_invalidated and _is_argument(original):
            return InvalidRecord("a value is of a type that the database does not take")
        if isinstance(error, DBAPIError | OSError | TimeoutError | _DRIVER_ERRORS):
            return StorageUnavailable(f"the database cannot be used now ({of_postgresql(original)})")
        return None


def _on_checkout(connection: Any, _record: object, _proxy: object) -> None:
    # The driver has seen the server hang up (a restart, an administrator): the pool takes a fresh one instead. To ask
    # the server each time (`pool_pre_ping`) would cost every read a round trip.
    if connection.driver_connection.is_closed():
        raise DisconnectionError("the server closed the connection")


def _is_argument(original: object) -> bool:
    return "DataError" in type(original).__name__ or "invalid input for query argument" in str(original)


def _driver_url(url: str) -> str:
    """The URL as SQLAlchemy's asyncpg dialect reads it: libpq's `sslmode` is called `ssl` there."""
    parts = urlsplit(url)
    query = [("ssl" if key == "sslmode" else key, value) for key, value in parse_qsl(parts.query)]
    return urlunsplit(("postgresql+asyncpg", parts.netloc, parts.path, urlencode(query), ""))


def _plain_url(url: str) -> str:
    """The URL as asyncpg itself reads it: without a driver's name, and with libpq's word for encryption."""
    parts = urlsplit(url)
    query = [("sslmode" if key == "ssl" else key, value) for key, value in parse_qsl(parts.query)]
    return urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(query), ""))
