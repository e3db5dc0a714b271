"""SQLite through aiosqlite: one file, no server. Acknowledged writes are durable (`synchronous=FULL`)."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    Engine,
    Float,
    Integer,
    LargeBinary,
    Select,
    Table,
    TableValuedAlias,
    Text,
    TextClause,
    and_,
    bindparam,
    case,
    cast,
    column,
    event,
    exists,
    func,
    literal,
    literal_column,
    select,
    table,
    true,
    type_coerce,
)
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from datalayer.dialects import Aggregate, VectorIndex, VectorsMissing, driver_errors
from datalayer.dialects.reasons import of_sqlite
from datalayer.dialects.sqlite_connections import SQLiteConnections
from datalayer.dialects.sqlite_direct import PRAGMAS, WAIT, keep_private
from datalayer.dialects.sqlstates import Meaning
from datalayer.errors import (
    ConfigurationError,
    ConnectionLost,
    DataLayerError,
    InvalidRecord,
    SchemaError,
    StatementRefused,
    StorageUnavailable,
)
from datalayer.records.search import Query
from datalayer.schema.chat import FAVORITE_ON_SQLITE, search_texts

_WAIT_FOR_MIGRATION = "PRAGMA busy_timeout=10000"
_INDEXES_OF_WORDS = {
    "search_texts": table("search_words", column("rowid")),
    "passages": table("passage_words", column("rowid")),
}
_MERGED_PAGES = 200
_WAL_SECONDS = 10.0
_WAL_PAUSE_SECONDS = 0.01


class SQLite:
    name: ClassVar[str] = "sqlite"
    read_options: ClassVar[dict[str, Any]] = {}
    row_position: ClassVar[str] = "rowid"
    changes_in_ctes: ClassVar[bool] = False
    skips_needless_reads: ClassVar[bool] = False
    is_favorite: ClassVar[TextClause] = FAVORITE_ON_SQLITE
    hot_paths: SQLiteConnections
    single_writes: ClassVar[None] = None
    vectors: VectorIndex | None = None
    percentile: ClassVar[None] = None
    beside_writers: ClassVar[None] = None
    partitions: ClassVar[None] = None
    payload_key: ClassVar[tuple[str, ...]] = ("callId",)
    positions: ClassVar[None] = None
    clock: ClassVar[ColumnElement[float]] = literal_column("((julianday('now') - 2440587.5) * 86400.0)", Float)
    is_read_only: ClassVar[ColumnElement[bool]] = literal_column("0", Boolean)

    def create_engine(self, url: str, *, for_writes: bool = False, **options: Any) -> AsyncEngine:
        if url in ("sqlite://", "sqlite:///") or ":memory:" in url:
            raise ConfigurationError(
                "SQLite needs a file (sqlite:///path/to/file.db); a database in memory is lost when the process ends"
            )
        try:
            engine = create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:", 1), **options)
        except (ArgumentError, TypeError, ValueError) as error:
            raise ConfigurationError(f"the SQLite URL or one of its options is not valid: {error}") from None
        if not for_writes:
            self.hot_paths = SQLiteConnections(engine.sync_engine, options.get("connect_args") or {})
        event.listen(engine.sync_engine, "do_connect", _before_connect)
        event.listen(engine.sync_engine, "connect", _on_connect)
        event.listen(engine.sync_engine, "begin", _on_begin)
        return engine

    @staticmethod
    def create_sync_engine(url: str) -> Engine:
        from datalayer.dialects.sqlite_sync import create_sync_engine  # noqa: PLC0415  few processes need it

        return create_sync_engine(url)

    @staticmethod
    def vector_index() -> VectorIndex:
        raise VectorsMissing("SQLite has no index of vectors")

    @property
    def copy_database(self) -> Callable[[str, Path], None]:
        from datalayer.dialects.sqlite_copy import copy_database  # noqa: PLC0415  only backups need it

        return copy_database

    @staticmethod
    def dump_commands(url: str, dump: Path) -> tuple[str, str]:
        raise NotImplementedError

    @staticmethod
    def pool_options(connections: int) -> dict[str, Any]:  # noqa: ARG004  no server counts them
        return {}

    @staticmethod
    def insert(table: Table) -> Any:
        return sqlite_insert(table)

    @staticmethod
    def merge_json(
        stored: ColumnElement[Any],
        patch: dict[str, Any] | BindParameter[Any],
        *,
        removes: bool = True,  # noqa: ARG004
    ) -> ColumnElement[Any]:
        given = patch if isinstance(patch, BindParameter) else bindparam(None, json.dumps(patch))
        return type_coerce(func.merge_json(stored, given), JSON)

    @staticmethod
    def hashed_id(text: ColumnElement[str]) -> ColumnElement[str]:
        raise NotImplementedError

    @staticmethod
    def rows_of(columns: Sequence[Column[Any]], rows: Sequence[Sequence[str | None]]) -> Select[Any]:
        given = func.json_each(bindparam(None, json.dumps(rows))).table_valued(column("value", Text), name="given")
        texts = (func.json_extract(given.c.value, f"$[{at}]").label(of.name) for at, of in enumerate(columns))
        # Without a condition, SQLite reads the ON of an upsert as that of a join.
        return select(*texts).where(true())

    @staticmethod
    def search_query(owner_key: str, query: Query) -> str:
        # Tokens consist of letters, marks, digits and underscores, so no token can end the quotes.
        tokens = [f'"{owner_key}{token}"' for token in query.whole]
        return " ".join(tokens + [f'"{owner_key}{token}" *' for token in query.beginnings])

    @staticmethod
    def matches_words(wanted: ColumnElement[str], texts: Table | None = None) -> ColumnElement[bool]:
        of = search_texts if texts is None else texts
        index = _INDEXES_OF_WORDS[of.name]
        matches = literal_column(index.name).op("MATCH", is_comparison=True)(wanted)
        return of.c.id.in_(select(index.c.rowid).where(matches))

    @staticmethod
    async def sort_words(connection: AsyncConnection) -> None:
        """FTS5 sorts the words of a transaction itself."""

    @staticmethod
    async def forget_words(connection: AsyncConnection, *, begins: bool) -> bool:
        # A deleted word stays in the file until its part of the index is merged with a newer part. A negative number
        # begins a merge of all parts, and a positive number continues it until it changes no rows.
        changed = "SELECT total_changes()"
        before = (await connection.exec_driver_sql(changed)).scalar_one()
        merged = _MERGED_PAGES if not begins else -_MERGED_PAGES
        await connection.exec_driver_sql("INSERT INTO search_words (search_words, rank) VALUES ('merge', ?)", (merged,))
        return bool((await connection.exec_driver_sql(changed)).scalar_one() - before >= 2)

    @staticmethod
    def in_ids(column: ColumnElement[Any], ids: Select[Any]) -> ColumnElement[bool]:
        return column.in_(ids)

    @staticmethod
    def any_of(wanted: Sequence[str]) -> str:
        return " OR ".join(f"({one})" for one in wanted)

    @staticmethod
    def has_any(texts: ColumnElement[Any], others: Sequence[str]) -> ColumnElement[bool]:
        each = func.json_each(texts).table_valued(column("value", Text), name="each_text")
        return exists(select(literal(1)).select_from(each).where(each.c.value.in_(others)))

    @staticmethod
    def has_part(stored: ColumnElement[str], part: str) -> ColumnElement[bool]:
        # SQLite's own functions know the case of ASCII letters alone.
        return func.casefold(stored, type_=Text).contains(part.casefold(), autoescape=True)

    @staticmethod
    def text_in(stored: ColumnElement[Any], key: str) -> ColumnElement[str]:
        json_text = type_coerce(stored, Text)
        return case((func.json_valid(json_text) == 1, func.json_extract(json_text, f'$."{key}"', type_=Text)))

    @staticmethod
    def byte_length(stored: ColumnElement[Any]) -> ColumnElement[int]:
        # SQLite has octet_length since 3.43 only.
        return func.length(cast(stored, LargeBinary), type_=Integer)

    @staticmethod
    def words_in(words: ColumnElement[Any]) -> TableValuedAlias:
        # Tokens consist of letters, marks, digits and underscores, so no token can end the quotes.
        listed = literal('["') + func.replace(words, " ", '","') + literal('"]')
        return func.json_each(listed).table_valued(column("value", Text), name="word")

    @staticmethod
    def each(texts: ColumnElement[Any]) -> TableValuedAlias:
        return func.json_each(texts).table_valued(column("value", Text), name="each_tag")

    @staticmethod
    def in_periods(
        table: Table,
        moment: ColumnElement[str],
        chosen: ColumnElement[bool],
        periods: Sequence[tuple[str, str]],
        aggregate: Aggregate,
    ) -> Select[Any]:
        of_periods = func.json_each(bindparam(None, json.dumps(periods)))
        period = of_periods.table_valued(column("key", Integer), column("value", Text), name="period")
        within = and_(
            moment >= func.json_extract(period.c.value, "$[0]"), moment < func.json_extract(period.c.value, "$[1]")
        )
        # SQLite always reads the left side of a LEFT JOIN first: one period after another, each through the index.
        return aggregate(period.outerjoin(table, and_(within, chosen)), true(), [period.c.key.label("period")])

    async def try_lock_migrations(self, connection: AsyncConnection) -> bool:
        """Shorten the wait for locks again: `BEGIN IMMEDIATE`, which begins every write, holds the lock already."""
        await connection.exec_driver_sql(WAIT)
        return True

    def translate(self, error: BaseException) -> DataLayerError | None:
        if isinstance(error, PoolTimeoutError):
            return StorageUnavailable("all connections to the database are in use")
        if not isinstance(error, DBAPIError | sqlite3.Error | sqlite3.Warning | OSError):
            return None
        original = error.orig if isinstance(error, DBAPIError) else error
        if "no such table" in str(original) or "has no column" in str(original) or "no such column" in str(original):
            return SchemaError("the database lacks a table or column; run `threadkeeper migrate`")
        return _refusal(original)


def _refusal(original: BaseException | None) -> DataLayerError:
    reason, meaning = of_sqlite(original), Meaning.PASSING
    if isinstance(original, sqlite3.Error | sqlite3.Warning):
        code = getattr(original, "sqlite_errorname", None)
        meaning = driver_errors.of_sqlite(type(original).__name__, code, str(original))
    if meaning is Meaning.RECORD:
        return InvalidRecord(f"the database rejected the record ({reason})")
    if meaning is Meaning.DEFECT:
        return StatementRefused(f"the database refuses a statement of the data layer ({reason}); please report it")
    if meaning is Meaning.CONNECTION:
        return ConnectionLost(f"the database cannot be used now ({reason})")
    if type(original) is sqlite3.DatabaseError:
        return StorageUnavailable(f"the database file cannot be read ({reason})")
    return StorageUnavailable(f"the database cannot be used now ({reason})")


def _before_connect(_dialect: object, _record: object, arguments: list[Any], _options: object) -> None:
    keep_private(str(arguments[0]))


def _on_connect(connection: Any, _record: object) -> None:
    # The driver begins a transaction only before the first write; `_on_begin` does it from the start.
    connection.isolation_level = None
    connection.create_function("merge_json", 2, _merge_json, deterministic=True)
    connection.create_function("casefold", 1, _casefold, deterministic=True)
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(pragma)
    cursor.close()
    connection.run_async(_enter_wal)


async def _enter_wal(connection: Any) -> None:
    # If two processes open a new file together, one fails here without a wait, because `busy_timeout` does not apply.
    give_up = time.monotonic() + _WAL_SECONDS
    while True:
        try:
            await connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
        else:
            return
        await asyncio.sleep(_WAL_PAUSE_SECONDS)


def _on_begin(connection: Any) -> None:
    # A transaction that reads before it writes would fail if another one wrote in between.
    options = connection.get_execution_options()
    immediate = options.get("writes")
    if options.get("migrates"):
        connection.exec_driver_sql(_WAIT_FOR_MIGRATION)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _merge_json(stored: str | None, patch: str) -> str:
    merged = {**(json.loads(stored) if stored else {}), **json.loads(patch)}
    return json.dumps({key: value for key, value in merged.items() if value is not None}, ensure_ascii=False)


def _casefold(stored: str | None) -> str | None:
    return None if stored is None else stored.casefold()
