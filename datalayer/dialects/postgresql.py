"""Postgres 14 and later, through asyncpg. No extension is needed."""

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from sqlalchemy import ColumnElement, Table, Text, bindparam, cast, event, func, literal, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from datalayer.dialects.postgresql_steps import StepWriter, in_rounds
from datalayer.dialects.reasons import of_postgresql
from datalayer.errors import ConfigurationError, DataLayerError, InvalidRecord, SchemaError, StorageUnavailable
from datalayer.records import StepKey, StepWrite

# Any constant will do, as long as every replica takes the same.
_MIGRATION_LOCK = 0x746872656164
_SCHEMA_CLASSES = {"42P01", "42703", "3F000", "42704"}
# Connection, who may come in, which database, deadlock, resources, locks, shutdown, the system's own failures: what
# may be otherwise a moment later, and is no fault of the record.
_PASSING_CLASSES = ("08", "25", "28", "3D", "40", "53", "55", "57", "58", "XX")


class PostgreSQL:
    name: ClassVar[str] = "postgresql"
    read_options: ClassVar[dict[str, Any]] = {"isolation_level": "AUTOCOMMIT"}
    row_position: ClassVar[str] = "ctid"

    def __init__(self) -> None:
        self._url = ""
        self._connection: Any = None
        self._steps = StepWriter()

    def create_engine(self, url: str, **options: Any) -> AsyncEngine:
        self._url = url
        # What the pool has opened it keeps: to log in anew for each burst costs more than the burst's queries.
        settings: dict[str, Any] = {"pool_size": 20, "max_overflow": 0, "pool_timeout": 10}
        # A command that never answers must not hold a connection for ever; the server is asked to be in UTC.
        connect = {"timeout": 10, "command_timeout": 60, "server_settings": {"application_name": "threadkeeper"}}
        try:
            engine = create_async_engine(_driver_url(url), connect_args=connect, **(settings | options))
        except (ArgumentError, TypeError, ValueError) as error:
            raise ConfigurationError(f"the Postgres URL or an option of it is not understood: {error}") from None
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

    def contains(self, column: ColumnElement[Any], words: str) -> ColumnElement[bool]:
        return column.icontains(words, autoescape=True)

    def is_favorite(self, step_metadata: ColumnElement[Any]) -> ColumnElement[bool]:
        return step_metadata.op("@>", is_comparison=True)(text("""'{"favorite": true}'::jsonb"""))

    async def lock_migrations(self, connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})

    async def write_steps(self, writes: Sequence[StepWrite]) -> set[StepKey]:
        kept: set[StepKey] = set()
        for round_ in in_rounds(writes):
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            kept |= await self._steps.write(self._connection, round_)
        return kept

    async def close(self) -> None:
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.close(timeout=5)
        self._connection = None

    async def _connect(self) -> Any:
        # One statement, planned once: a plan for each call's values costs more than the statement itself.
        planning = {"plan_cache_mode": "force_generic_plan", "jit": "off"}
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
        if isinstance(error, DBAPIError | OSError | TimeoutError | asyncpg.PostgresError | asyncpg.InterfaceError):
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
