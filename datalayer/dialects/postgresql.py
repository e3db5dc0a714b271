"""Postgres 14 and later, through asyncpg. No extension is needed."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Table,
    TableValuedAlias,
    Text,
    TextClause,
    and_,
    any_,
    bindparam,
    cast,
    column,
    event,
    func,
    literal,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSQUERY
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from datalayer.dialects import Aggregate
from datalayer.dialects.postgresql_connections import PostgresConnections, connect, is_lost
from datalayer.dialects.reasons import of_postgresql
from datalayer.errors import (
    ConfigurationError,
    ConnectionLost,
    DataLayerError,
    InvalidRecord,
    SchemaError,
    StorageUnavailable,
    TimedOut,
)
from datalayer.records.search import Query
from datalayer.schema.chat import FAVORITE_ON_POSTGRESQL, search_texts

# Any constant will do, as long as every replica takes the same.
_MIGRATION_LOCK = 0x746872656164
_SCHEMA_CLASSES = {"42P01", "42703", "3F000", "42704"}
# Cancelled, and a lock that was not to be had.
_TOO_LONG = {"57014", "55P03"}
# Who may come in, which database, deadlock, resources, locks, shutdown, the system's own failures: what may be
# otherwise a moment later, and is no fault of the record.
_PASSING_CLASSES = ("25", "28", "3D", "40", "53", "55", "57", "58", "XX")


class PostgreSQL:
    name: ClassVar[str] = "postgresql"
    read_options: ClassVar[dict[str, Any]] = {"isolation_level": "AUTOCOMMIT"}
    row_position: ClassVar[str] = "ctid"
    is_favorite: ClassVar[TextClause] = FAVORITE_ON_POSTGRESQL
    hot_paths: PostgresConnections

    def create_engine(self, url: str, *, for_writes: bool = False, **options: Any) -> AsyncEngine:
        # What the pool has opened it keeps: to log in anew for each burst costs more than the burst's queries.
        settings: dict[str, Any] = {"pool_size": 10, "max_overflow": 0, "pool_timeout": 10}
        # A command that never answers must not hold a connection for ever. To compile a statement, as the server does
        # with one that reads many rows, takes longer than any of ours runs.
        arguments = {
            "async_creator_fn": connect,
            "command_timeout": 60,
            "server_settings": {"application_name": "threadkeeper", "jit": "off"},
        }
        try:
            engine = create_async_engine(
                _url(url, "postgresql+asyncpg", "ssl"), connect_args=arguments, **(settings | options)
            )
        except (ArgumentError, TypeError, ValueError) as error:
            raise ConfigurationError(f"the Postgres URL or an option of it is not understood: {error}") from None
        if not for_writes:
            self.hot_paths = PostgresConnections(
                _url(url, "postgresql", "sslmode"),
                engine.dialect,
                # To SQLAlchemy a pool of size 0 has no bound.
                most=(settings | options)["pool_size"] or sys.maxsize,
                timeout_seconds=(settings | options)["pool_timeout"],
            )
        event.listen(engine.sync_engine, "checkout", _on_checkout)
        event.listen(engine.sync_engine, "handle_error", _on_error)
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

    @staticmethod
    def search_query(owner_key: str, query: Query) -> str:
        # A token is made of letters, marks, digits and underscores alone: nothing in it ends the quotes.
        tokens = [f"'{owner_key}{token}'" for token in query.whole]
        return " & ".join(tokens + [f"'{owner_key}{token}':*" for token in query.beginnings])

    @staticmethod
    def matches_words(wanted: ColumnElement[str]) -> ColumnElement[bool]:
        # A subquery hides what is looked for from the planner, who may think it so frequent that the index does not
        # pay, because it is in the texts of others.
        hidden = select(cast(cast(wanted, Text), TSQUERY)).scalar_subquery()
        return search_texts.c.words.op("@@", is_comparison=True)(hidden)

    @staticmethod
    async def forget_words(connection: AsyncConnection, *, begins: bool) -> bool:  # noqa: ARG004
        # The server's own vacuum does it.
        return False

    @staticmethod
    def in_ids(column: ColumnElement[Any], ids: Select[Any]) -> ColumnElement[bool]:
        # As an array: of IN the planner may make a join that reads the whole table.
        return column == any_(func.array(ids.scalar_subquery(), type_=ARRAY(column.type)))

    @staticmethod
    def any_of(wanted: Sequence[str]) -> str:
        return " | ".join(f"({one})" for one in wanted)

    @staticmethod
    def has_any(texts: ColumnElement[Any], others: Sequence[str]) -> ColumnElement[bool]:
        return texts.op("&&", is_comparison=True)(cast(literal(list(others), ARRAY(Text)), ARRAY(Text)))

    @staticmethod
    def text_in(stored: ColumnElement[Any], key: str) -> ColumnElement[str]:
        return stored.op("->>", return_type=Text())(literal(key, Text))

    @staticmethod
    def words_in(words: ColumnElement[Any]) -> TableValuedAlias:
        of_words = func.unnest(func.tsvector_to_array(words))
        return of_words.table_valued(column("value", Text)).render_derived(name="word")

    @staticmethod
    def each(texts: ColumnElement[Any]) -> TableValuedAlias:
        return func.unnest(texts).table_valued(column("value", Text)).render_derived(name="each_tag")

    @staticmethod
    def percentile(value: ColumnElement[Any], percent: int) -> ColumnElement[Any]:
        return func.percentile_disc(literal_column(f"{percent / 100}")).within_group(value)

    @staticmethod
    def in_periods(
        table: Table,
        moment: ColumnElement[str],
        chosen: ColumnElement[bool],
        periods: Sequence[tuple[str, str]],
        aggregate: Aggregate,
    ) -> Select[Any]:
        begins, ends = (cast(literal(list(edges), ARRAY(Text)), ARRAY(Text)) for edges in zip(*periods, strict=True))
        of_periods = func.unnest(begins, ends).table_valued(
            column("begin", Text), column("end", Text), with_ordinality="number"
        )
        period = of_periods.render_derived(name="period")
        within = and_(moment >= period.c.begin, moment < period.c.end)
        # One period after another, each by the index: what all have in common need not be put in order first.
        found = aggregate(table, and_(chosen, within), []).lateral("found")
        number = period.c.number - literal_column("1", Integer)
        return select(number.label("period"), *found.c).select_from(period.join(found, true()))

    async def lock_migrations(self, connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})

    def translate(self, error: BaseException) -> DataLayerError | None:
        if isinstance(error, PoolTimeoutError):
            return StorageUnavailable("every connection to the database is in use")
        original = error.orig if isinstance(error, DBAPIError) else error
        if is_lost(original) or (isinstance(error, DBAPIError) and error.connection_invalidated):
            return ConnectionLost(f"the database cannot be used now ({of_postgresql(original)})")
        return _refusal(error, original)


def _refusal(error: BaseException, original: object) -> DataLayerError | None:
    state = getattr(original, "sqlstate", None)
    refusal: DataLayerError | None = None
    if state in _SCHEMA_CLASSES:
        refusal = SchemaError("the database lacks a table or column; bring it up with `migrate`")
    elif isinstance(state, str) and not state.startswith(_PASSING_CLASSES):
        refusal = InvalidRecord(f"the database refuses the record ({of_postgresql(original)})")
    elif isinstance(error, DBAPIError) and _is_argument(original):
        refusal = InvalidRecord("a value is of a type that the database does not take")
    elif state in _TOO_LONG or isinstance(original, TimeoutError):
        refusal = TimedOut(f"the database cannot be used now ({of_postgresql(original)})")
    elif isinstance(error, DBAPIError | OSError | asyncpg.PostgresError | asyncpg.InterfaceError):
        refusal = StorageUnavailable(f"the database cannot be used now ({of_postgresql(original)})")
    return refusal


def _on_checkout(connection: Any, _record: object, _proxy: object) -> None:
    # The driver has seen the server hang up (a restart, an administrator): the pool takes a fresh one instead. To ask
    # the server each time (`pool_pre_ping`) would cost every read a round trip.
    if connection.driver_connection.is_closed():
        raise DisconnectionError("the server closed the connection")


def _on_error(context: ExceptionContext) -> None:
    # SQLAlchemy asks whether the driver's connection is closed. It may not be yet when the server has said goodbye.
    if is_lost(context.original_exception):
        context.is_disconnect = True


def _is_argument(original: object) -> bool:
    return "DataError" in type(original).__name__ or "invalid input for query argument" in str(original)


def _url(url: str, scheme: str, encryption: str) -> str:
    """The URL with another driver's name, and with its word for encryption: `sslmode` is libpq's and asyncpg's own."""
    parts = urlsplit(url)
    query = [(encryption if key in ("ssl", "sslmode") else key, value) for key, value in parse_qsl(parts.query)]
    return urlunsplit((scheme, parts.netloc, parts.path, urlencode(query), ""))
