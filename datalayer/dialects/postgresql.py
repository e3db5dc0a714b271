"""Postgres 14 and later, through asyncpg. No extension is needed."""

import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import asyncpg
from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    Engine,
    Float,
    Integer,
    Select,
    String,
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
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSQUERY, UUID
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from datalayer.dialects import Aggregate, BesideWriters, Partitions, VectorIndex
from datalayer.dialects.driver_errors import of_asyncpg
from datalayer.dialects.positions import LogPositions
from datalayer.dialects.postgresql_connections import PostgresConnections, is_lost
from datalayer.dialects.postgresql_connector import Connector
from datalayer.dialects.reasons import of_postgresql
from datalayer.dialects.sqlstates import Meaning, meaning_of
from datalayer.errors import (
    ConfigurationError,
    ConnectionLost,
    DataLayerError,
    InvalidRecord,
    SchemaError,
    StatementRefused,
    StorageUnavailable,
    TimedOut,
)
from datalayer.records.search import Query
from datalayer.schema.chat import FAVORITE_ON_POSTGRESQL, metadata, search_texts

# An arbitrary constant that all replicas share.
_MIGRATION_LOCK = 0x746872656164
_WRITTEN = "pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::int8"
_REPLAYED = (
    f"CASE WHEN pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::int8 ELSE {_WRITTEN} END"
)
_IDENTITY = (
    "(SELECT system_identifier::text FROM pg_control_system()) || '/' "
    "|| (SELECT oid::text FROM pg_database WHERE datname = current_database())"
)
# Steps have a connection of their own, other writes one, and a migration or command one more.
_WRITING = 3
# JIT is off, because compiling a statement takes longer than running any of ours.
_SETTINGS = {"jit": "off"}


class PostgreSQL:
    name: ClassVar[str] = "postgresql"
    read_options: ClassVar[dict[str, Any]] = {"isolation_level": "AUTOCOMMIT"}
    row_position: ClassVar[str] = "ctid"
    changes_in_ctes: ClassVar[bool] = True
    skips_needless_reads: ClassVar[bool] = True
    payload_key: ClassVar[tuple[str, ...]] = ("callId", "createdAt")
    is_favorite: ClassVar[TextClause] = FAVORITE_ON_POSTGRESQL
    clock: ClassVar[ColumnElement[float]] = literal_column("extract(epoch FROM clock_timestamp())::float8", Float)
    is_read_only: ClassVar[ColumnElement[bool]] = literal_column(
        "current_setting('transaction_read_only')::boolean", Boolean
    )
    positions: ClassVar[LogPositions] = LogPositions(
        select(literal_column(_WRITTEN, BigInteger)),
        select(literal_column(_REPLAYED, BigInteger)),
        select(literal_column("pg_is_in_recovery()", Boolean)),
        select(literal_column(_IDENTITY, String)),
    )
    hot_paths: PostgresConnections
    copy_database: ClassVar[None] = None
    connector: Connector | None = None
    vectors: VectorIndex | None = None

    def create_engine(self, url: str, *, for_writes: bool = False, **options: Any) -> AsyncEngine:
        # The pool keeps its connections, because reconnecting for each burst costs more than the queries of the burst.
        settings: dict[str, Any] = {"pool_size": 10, "max_overflow": 0, "pool_timeout": 10}
        # All connections are made in one way, and so from the same parameters.
        self.connector = connector = self.connector or Connector(url)
        arguments = {
            "async_creator_fn": partial(connector.connect, _SETTINGS),
            "prepared_statement_cache_size": connector.kept_descriptions,
        }
        try:
            engine = create_async_engine("postgresql+asyncpg://", connect_args=arguments, **(settings | options))
        except (ArgumentError, TypeError, ValueError) as error:
            raise ConfigurationError(f"an option of the Postgres engine is not valid: {error}") from None
        if not for_writes:
            self.hot_paths = PostgresConnections(
                connector,
                engine.dialect,
                # In SQLAlchemy a pool of size 0 is unbounded.
                most=(settings | options)["pool_size"] or sys.maxsize,
                timeout_seconds=(settings | options)["pool_timeout"],
            )
        event.listen(engine.sync_engine, "checkout", _on_checkout)
        event.listen(engine.sync_engine, "handle_error", partial(_on_error, connector))
        return engine

    @property
    def single_writes(self) -> PostgresConnections:
        return self.hot_paths

    @staticmethod
    def create_sync_engine(url: str) -> Engine:
        try:
            from datalayer.dialects.postgresql_sync import create_sync_engine  # noqa: PLC0415  few processes need it
        except ModuleNotFoundError as error:
            raise ConfigurationError(f"jobs need the package {error.name}: install `threadkeeper[jobs]`") from error

        return create_sync_engine(url)

    @staticmethod
    def vector_index() -> VectorIndex:
        from datalayer.dialects.postgresql_vectors import PgVector  # noqa: PLC0415  only assistants with knowledge need it

        return PgVector()

    @staticmethod
    def dump_commands(url: str, dump: Path) -> tuple[str, str]:
        from datalayer.dialects.postgresql_dump import dump_commands  # noqa: PLC0415  only backups need it

        return dump_commands(url, dump)

    @staticmethod
    def pool_options(connections: int) -> dict[str, Any]:
        reading = (connections - _WRITING) // 2
        if reading < 1:
            raise ConfigurationError(f"Postgres needs at least {_WRITING + 2} connections")
        return {"pool_size": reading, "max_overflow": 0}

    @staticmethod
    def insert(table: Table) -> Any:
        return postgresql_insert(table)

    @staticmethod
    def merge_json(
        stored: ColumnElement[Any], patch: dict[str, Any] | BindParameter[Any], *, removes: bool = True
    ) -> ColumnElement[Any]:
        before = func.coalesce(stored, literal_column("'{}'::jsonb", JSONB)).op("||", return_type=JSONB())
        if isinstance(patch, BindParameter):
            if not removes:
                return before(patch)
            pair = func.jsonb_each(patch).table_valued(column("key", Text), column("value", JSONB), name="pair")
            is_null = pair.c.value == literal_column("'null'::jsonb", JSONB)
            removed = func.array(select(pair.c.key).where(is_null).scalar_subquery(), type_=ARRAY(Text))
            return before(patch).op("-", return_type=JSONB())(removed)
        kept = {key: value for key, value in patch.items() if value is not None}
        removed_keys = [key for key, value in patch.items() if value is None]
        merged: ColumnElement[Any] = before(cast(bindparam(None, kept, JSONB), JSONB))
        if not removed_keys:
            return merged
        return merged.op("-")(cast(bindparam(None, removed_keys, ARRAY(Text)), ARRAY(Text)))

    @staticmethod
    def hashed_id(text: ColumnElement[str]) -> ColumnElement[str]:
        digest = func.sha256(func.convert_to(text, literal_column("'UTF8'")))
        beginning = func.substr(digest, literal_column("1"), literal_column("16"))
        return cast(func.encode(beginning, literal_column("'hex'")), UUID(as_uuid=False))

    @staticmethod
    def rows_of(columns: Sequence[Column[Any]], rows: Sequence[Sequence[str | None]]) -> Select[Any]:
        # Arrays in one list of columns are read side by side.
        texts = [bindparam(None, [row[at] for row in rows], ARRAY(Text)) for at in range(len(columns))]
        unnested = select(*(func.unnest(one).label(of.name) for one, of in zip(texts, columns, strict=True)))
        given = unnested.subquery("given")
        return select(*(cast(given.c[of.name], of.type) for of in columns))

    @staticmethod
    def search_query(owner_key: str, query: Query) -> str:
        # Tokens consist of letters, marks, digits and underscores, so no token can end the quotes.
        tokens = [f"'{owner_key}{token}'" for token in query.whole]
        return " & ".join(tokens + [f"'{owner_key}{token}':*" for token in query.beginnings])

    @staticmethod
    def matches_words(wanted: ColumnElement[str], texts: Table | None = None) -> ColumnElement[bool]:
        # A subquery hides the words from the planner. It would otherwise avoid the index for words that are frequent in
        # the texts of other users.
        hidden = select(cast(cast(wanted, Text), TSQUERY)).scalar_subquery()
        return (search_texts if texts is None else texts).c.words.op("@@", is_comparison=True)(hidden)

    @staticmethod
    async def sort_words(connection: AsyncConnection) -> None:
        # Only the owner of the index may do it. Without, Postgres does it itself, later.
        await connection.exec_driver_sql(
            "SELECT gin_clean_pending_list(oid) FROM pg_class"
            " WHERE oid = to_regclass('search_texts_words') AND pg_has_role(relowner, 'USAGE')"
        )

    @staticmethod
    async def forget_words(connection: AsyncConnection, *, begins: bool) -> bool:  # noqa: ARG004
        # The server's vacuum removes deleted words.
        return False

    @staticmethod
    def in_ids(column: ColumnElement[Any], ids: Select[Any]) -> ColumnElement[bool]:
        # An array, because the planner may turn IN into a join that reads the whole table.
        return column == any_(func.array(ids.scalar_subquery(), type_=ARRAY(column.type)))

    @staticmethod
    def any_of(wanted: Sequence[str]) -> str:
        return " | ".join(f"({one})" for one in wanted)

    @staticmethod
    def has_any(texts: ColumnElement[Any], others: Sequence[str]) -> ColumnElement[bool]:
        return texts.op("&&", is_comparison=True)(cast(literal(list(others), ARRAY(Text)), ARRAY(Text)))

    @staticmethod
    def has_part(stored: ColumnElement[str], part: str) -> ColumnElement[bool]:
        return stored.icontains(part, autoescape=True)

    @staticmethod
    def text_in(stored: ColumnElement[Any], key: str) -> ColumnElement[str]:
        return stored.op("->>", return_type=Text())(literal(key, Text))

    @staticmethod
    def byte_length(stored: ColumnElement[Any]) -> ColumnElement[int]:
        return func.octet_length(stored, type_=Integer)

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
        # LATERAL reads the periods one by one through the index, without sorting the rows of all periods first.
        found = aggregate(table, and_(chosen, within), []).lateral("found")
        number = period.c.number - literal_column("1", Integer)
        return select(number.label("period"), *found.c).select_from(period.join(found, true()))

    async def try_lock_migrations(self, connection: AsyncConnection) -> bool:
        tried = await connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        if not tried.scalar():
            return False
        # The transaction stays open while other connections do the work. And the portal of a SELECT keeps its snapshot
        # until the next statement of the transaction; each index that is built CONCURRENTLY would wait for that.
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        return True

    @property
    def beside_writers(self) -> BesideWriters:
        from datalayer.dialects.postgresql_migrations import PostgresMigrations  # noqa: PLC0415  once in a process

        return PostgresMigrations()

    @property
    def partitions(self) -> Partitions:
        from datalayer.dialects.postgresql_partitions import PayloadPartitions  # noqa: PLC0415  once a day

        return PayloadPartitions()

    def translate(self, error: BaseException) -> DataLayerError | None:
        if isinstance(error, PoolTimeoutError):
            return StorageUnavailable("all connections to the database are in use")
        if isinstance(error, DataLayerError):
            return None
        original = error.orig if isinstance(error, DBAPIError) else error
        if is_lost(original) or (isinstance(error, DBAPIError) and error.connection_invalidated):
            return ConnectionLost(f"the database cannot be used now ({of_postgresql(original)})")
        return _refusal(error, original)


def _refusal(error: BaseException, original: object) -> DataLayerError | None:
    meaning = _meaning(original)
    reason = of_postgresql(original)
    refusal: DataLayerError | None = None
    if table := _behind(original):
        refusal = SchemaError(
            f"the sequence of {table}.id is behind its table, as after a copy without sequences: set it with "
            f"setval(pg_get_serial_sequence('{table}', 'id'), …) to the highest id of {table}"
        )
    elif meaning is Meaning.SCHEMA:
        refusal = SchemaError("the database lacks a table or column; run `threadkeeper migrate`")
    elif meaning is Meaning.RECORD:
        refusal = InvalidRecord(f"the database rejected the record ({reason})")
    elif meaning is Meaning.DEFECT:
        state = getattr(original, "sqlstate", None)
        code = f", SQLSTATE {state}" if state else ""
        refusal = StatementRefused(
            f"the database refuses a statement of the data layer ({reason}{code}); please report it"
        )
    elif meaning is Meaning.CONNECTION:
        refusal = ConnectionLost(f"the database cannot be used now ({reason})")
    elif meaning is Meaning.SLOW or isinstance(original, TimeoutError):
        refusal = TimedOut(f"the database cannot be used now ({reason})")
    elif meaning is not None or isinstance(error, DBAPIError | OSError | asyncpg.PostgresError):
        refusal = StorageUnavailable(f"the database cannot be used now ({reason})")
    return refusal


@cache
def _generated_keys() -> dict[str, str]:
    """The tables whose ids the database makes, by the names of their primary keys."""
    tables = (one for one in metadata.sorted_tables if one.autoincrement_column is not None)
    return {f"{table.name}_pkey": table.name for table in tables}


def _behind(original: object) -> str | None:
    """The table that has the id already which its sequence gave: that is no fault of the record."""
    cause = getattr(original, "__cause__", None) or original
    is_taken = getattr(cause, "sqlstate", None) == "23505"
    return _generated_keys().get(getattr(cause, "constraint_name", None) or "") if is_taken else None


def _meaning(original: object) -> Meaning | None:
    """What the driver's error, or SQLAlchemy's wrapper of it, means; None if it is of neither."""
    state = getattr(original, "sqlstate", None)
    if isinstance(state, str):
        return meaning_of(state)
    cause = getattr(original, "__cause__", None) or original
    is_of_driver = type(cause).__module__.startswith("asyncpg.")
    return of_asyncpg(type(cause).__name__, str(cause)) if is_of_driver else None


def _on_checkout(connection: Any, _record: object, _proxy: object) -> None:
    # The driver noticed that the server closed the connection (a restart, an administrator), so the pool opens another
    # one. `pool_pre_ping` would check too, but costs every read a round trip.
    if connection.driver_connection.is_closed():
        raise DisconnectionError("the server closed the connection")


def _on_error(connector: Connector, context: ExceptionContext) -> None:
    # SQLAlchemy only checks whether the driver's connection is closed. The driver may close it later than this error.
    if is_lost(context.original_exception):
        context.is_disconnect = True
    connector.learn(context.original_exception)
