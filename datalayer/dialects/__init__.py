"""The differences between the two engines, one object for each engine. No other module asks for the engine's name.

`Dialect` is the SQL that differs. `HotPaths` bypasses SQLAlchemy for the most frequent calls of an engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    # A read through the driver alone needs a module of this package, and not SQLAlchemy.
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from sqlalchemy import (
        BindParameter,
        Column,
        ColumnElement,
        Engine,
        Executable,
        FromClause,
        Index,
        Select,
        Table,
        TableValuedAlias,
        TextClause,
    )
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.dialects.lone import LoneStatement
    from datalayer.dialects.positions import LogPositions
    from datalayer.errors import DataLayerError
    from datalayer.records.search import Query
    from datalayer.records.writes import StepKey, StepWrite

Aggregate = Callable[["FromClause", "ColumnElement[bool]", "Sequence[ColumnElement[Any]]"], "Select[Any]"]
"""Builds an aggregate from a FROM clause, a condition and the keys to group by; the keys are the first columns."""

Percentile = Callable[["ColumnElement[Any]", int], "ColumnElement[Any]"]
"""A discrete percentile (as `percentile_disc`) of a column; the second argument is a whole number from 0 to 100."""


class HotPaths(Protocol):
    """The most frequent calls, on connections of their own: step writes and prepared reads.

    Methods raise errors of the driver, which `Dialect.translate` translates.
    """

    @property
    def in_use(self) -> int:
        """The number of connections that are reading."""

    @property
    def is_ready(self) -> bool:
        """Whether a write can begin at once, because its connection is open and does nothing."""

    async def write_steps(self, writes: Sequence[StepWrite]) -> set[StepKey]:
        """Store the writes in order and create missing threads; returns the keys of which every write was accepted."""

    async def fetch(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        """The rows, as tuples, of a read-only statement that the caller keeps and reuses; one round trip."""

    async def close(self) -> None:
        """Close the connections."""


class SingleWrites(Protocol):
    """Writes of one statement each, on the connection of the hot paths; errors as from there."""

    def step_alone(self, write: StepWrite) -> LoneStatement:
        """The one statement that stores this write if no other is in flight."""

    def alone(
        self,
        statement: Executable,
        values: Mapping[str, Any],
        result: Callable[[Sequence[Any]], Any],
        thread_id: str | None = None,
    ) -> LoneStatement:
        """A writing statement that the caller keeps, with its values, for `execute_once`.

        Args:
            result: gives the result of the write, or UNDECIDED, from the rows.
            thread_id: a thread that exists if there are rows: its first step then needs a shorter statement.
        """

    async def execute_once(self, sql: str, values: Sequence[Any]) -> Sequence[Any]:
        """Run one statement, a transaction by itself, on the connection that writes; returns its rows."""

    async def write_alone(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        """Run a writing statement that the caller keeps, as its own transaction: one round trip. Gives its rows."""

    async def write_with_thread_locked(
        self, thread_id: str, statement: Executable, values: Mapping[str, Any]
    ) -> Sequence[Any]:
        """Lock the thread, and then run a writing statement that the caller keeps: three round trips. Gives its rows.

        The statement sees everything that was written to the thread before, and nobody writes to it meanwhile.
        """


class BesideWriters(Protocol):
    """What changes a schema while others read and write."""

    def create_engine(self, url: str) -> AsyncEngine:
        """Connections of their own, without a limit for the time of a statement."""

    async def give_up_soon(self, connection: AsyncConnection) -> None:
        """In this transaction, a statement that waits for a lock fails after less than a second, as SLOW."""

    async def drop_unfinished_indexes(self, connection: AsyncConnection) -> None:
        """Drop the indexes whose building was interrupted. Not in a transaction."""

    async def build_index(self, connection: AsyncConnection, index: Index) -> None:
        """Build an index without a lock that readers or writers wait for. Not in a transaction."""

    async def rows(self, connection: AsyncConnection, table: str) -> int:
        """About how many rows the table has."""


class Partitions(Protocol):
    """The parts by month of the payloads of calls."""

    async def add(self, connection: AsyncConnection) -> None:
        """Add the parts of this month and the next ones that are missing. Waits for no lock if none is."""

    async def expired(self, connection: AsyncConnection, before: str) -> list[tuple[str, str, str]]:
        """The parts that end before this time, the oldest first: name, first time, and the time after the last."""

    async def drop(self, connection: AsyncConnection, name: str, kept: Select[Any]) -> bool:
        """Drop a part in this transaction, which has to end at once, because nobody can use the table until then.

        False, and nothing is changed, if it has one of the rows to keep, if the lock is not granted soon, or if the
        login may not do it.
        """

    async def keep_only(self, connection: AsyncConnection, name: str, kept: Select[Any]) -> bool:
        """Empty a part but for these rows of it; False as for `drop`."""


class VectorsMissing(Exception):
    """The engine has no index of vectors here; the message says why."""


class VectorReads(Protocol):
    """The reads of a `Database` that a search of vectors needs."""

    async def fetch(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]: ...
    def read(self) -> AbstractAsyncContextManager[AsyncConnection]: ...
    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]: ...


class VectorIndex(Protocol):
    """The engine's own search of vectors; they are float16 in little-endian order."""

    async def look(self, connection: AsyncConnection) -> str | None:
        """The version that is there; None if `prepare` would create it. Raises VectorsMissing."""

    async def prepare(self, connection: AsyncConnection) -> None:
        """Create what is missing. Raises VectorsMissing."""

    async def unfilled(self, connection: AsyncConnection, limit: int) -> list[tuple[int, int, bytes]]:
        """Stored vectors that the search does not have yet, by passage and part."""

    async def fill(self, connection: AsyncConnection, vectors: Sequence[tuple[int, int, bytes]]) -> None:
        """Give vectors to the search."""

    async def index(self, database: VectorReads, dimensions: int) -> None:
        """Create the index of the vectors of this size, if it is not there."""

    async def nearest(
        self,
        database: VectorReads,
        assistant_id: str,
        number: int,
        vector: bytes,
        *,
        count: int,
        is_exact: bool,
    ) -> list[tuple[int, float]]:
        """The ids of the passages of the vectors of a training nearest to a vector, with their cosines.

        Needs a transaction. A passage with several near vectors is there several times.
        """


class Dialect(Protocol):
    """The SQL, connections and errors of one engine."""

    name: ClassVar[str]
    read_options: ClassVar[dict[str, Any]]
    """Execution options of connections that only read, or that write with one statement."""
    row_position: ClassVar[str]
    """The name of the column for a row's position in its table, which is mostly the order of writing."""

    payload_key: ClassVar[tuple[str, ...]]
    """The columns that a unique index of `llm_call_payloads` has."""

    changes_in_ctes: ClassVar[bool]
    """Whether a CTE can insert, update or delete, so that one statement can do a whole write."""

    skips_needless_reads: ClassVar[bool]
    """Whether a condition that is false for all rows keeps a table from being read, and a CTE is read only as far as it
    is asked for. Then one statement can have several ways, of which one is taken."""

    is_favorite: ClassVar[TextClause]
    """Whether a step's metadata marks it as a favourite, exactly as in the index `favorite_steps`."""

    clock: ClassVar[ColumnElement[float]]
    """The time of the database in seconds since 1970, also within a transaction."""

    is_read_only: ClassVar[ColumnElement[bool]]
    """Whether the server refuses all writes of this session, as a standby does."""

    vectors: VectorIndex | None
    """The engine's search of vectors, once `Knowledge.prepare_vectors` has found it."""

    @staticmethod
    def vector_index() -> VectorIndex:
        """The engine's search of vectors, not prepared. Raises VectorsMissing."""

    @property
    def positions(self) -> LogPositions | None:
        """How far a database and its standbys are; None if the engine has no standbys."""

    @property
    def hot_paths(self) -> HotPaths:
        """The engine's calls that bypass SQLAlchemy."""

    @property
    def single_writes(self) -> SingleWrites | None:
        """The engine's writes of one statement that bypass SQLAlchemy, if it has them."""

    def create_engine(self, url: str, *, for_writes: bool = False, **options: Any) -> AsyncEngine:
        """An engine that has not connected yet. The options of the reading engine also apply to `HotPaths.fetch`.

        Raises:
            ConfigurationError: the URL or an option is not valid for this engine.
        """

    @staticmethod
    def create_sync_engine(url: str) -> Engine:
        """An engine for a library that has no asyncio, for data that may be lost.

        Raises:
            ConfigurationError: the URL is not valid, or a package is not installed.
        """

    @property
    def copy_database(self) -> Callable[[str, Path], None] | None:
        """Copies the database of a URL into a new file, consistently, while others write; raises errors of the driver.

        None if the engine has tools of its own for this: `dump_commands`.
        """

    @staticmethod
    def dump_commands(url: str, dump: Path) -> tuple[str, str]:
        """The commands for a shell that write a dump into this file, and that restore it; without the password.

        Only an engine without `copy_database` has them. Raises ConfigurationError: the URL is not valid.
        """

    @staticmethod
    def pool_options(connections: int) -> dict[str, Any]:
        """Options of the engines with which they and the hot paths hold at most so many connections.

        Raises:
            ConfigurationError: there are too few connections.
        """

    @staticmethod
    def insert(table: Table) -> Any:
        """An INSERT with `on_conflict_do_update`."""

    @staticmethod
    def merge_json(
        stored: ColumnElement[Any], patch: dict[str, Any] | BindParameter[Any], *, removes: bool = True
    ) -> ColumnElement[Any]:
        """The stored object with the keys of the patch set, and keys with the value None removed; not recursive.

        Args:
            removes: False if the patch, a parameter, never has the value None, which costs the server less.
        """

    @staticmethod
    def hashed_id(text: ColumnElement[str]) -> ColumnElement[str]:
        """The id that `cleaning.hashed_id` gives for this text.

        Only an engine with `changes_in_ctes` needs this.
        """

    @staticmethod
    def rows_of(columns: Sequence[Column[Any]], rows: Sequence[Sequence[str | None]]) -> Select[Any]:
        """A SELECT that gives these rows of texts, ids or words; its SQL is the same for any number of them."""

    @staticmethod
    def search_query(owner_key: str, query: Query) -> str:
        """The query for a search in the texts of one user, in the query language of the engine's index."""

    @staticmethod
    def matches_words(wanted: ColumnElement[str], texts: Table | None = None) -> ColumnElement[bool]:
        """Whether a row of `search_texts`, or of `passages`, matches the `search_query`; uses its index of words."""

    @staticmethod
    async def sort_words(connection: AsyncConnection) -> None:
        """Sort newly stored words into the index, so that a search need not look through them one by one."""

    @staticmethod
    async def forget_words(connection: AsyncConnection, *, begins: bool) -> bool:
        """Rewrite a part of the index without deleted words; True if more parts are left.

        Args:
            begins: whether this is the first part.
        """

    @staticmethod
    def in_ids(column: ColumnElement[Any], ids: Select[Any]) -> ColumnElement[bool]:
        """Whether the id is one of these. The ids are selected first and then looked up one by one."""

    @staticmethod
    def any_of(wanted: Sequence[str]) -> str:
        """A query that matches if any of these queries, from `search_query`, does."""

    @staticmethod
    def has_any(texts: ColumnElement[Any], others: Sequence[str]) -> ColumnElement[bool]:
        """Whether a column of `Tags` contains at least one of the others."""

    @staticmethod
    def has_part(stored: ColumnElement[str], part: str) -> ColumnElement[bool]:
        """Whether the text has this part, in letters of any case."""

    @staticmethod
    def text_in(stored: ColumnElement[Any], key: str) -> ColumnElement[str]:
        """The text under this key of a stored object; NULL if the value is not an object or not valid JSON."""

    @staticmethod
    def byte_length(stored: ColumnElement[Any]) -> ColumnElement[int]:
        """The number of bytes of a stored text, without reading it if the engine can."""

    @staticmethod
    def words_in(words: ColumnElement[Any]) -> TableValuedAlias:
        """The tokens in a column of `Words`: one row each, in the column `value`."""

    @staticmethod
    def each(texts: ColumnElement[Any]) -> TableValuedAlias:
        """The tags in a column of `Tags`: one row each, in the column `value`."""

    @property
    def percentile(self) -> Percentile | None:
        """The engine's own percentile aggregate; None if it has none."""

    @staticmethod
    def in_periods(
        table: Table,
        moment: ColumnElement[str],
        chosen: ColumnElement[bool],
        periods: Sequence[tuple[str, str]],
        aggregate: Aggregate,
    ) -> Select[Any]:
        """Apply `aggregate` to the chosen rows of each period, by the time in `moment`.

        The first column, `period`, is the number of the period, from 0. A period without rows may have none.
        """

    async def try_lock_migrations(self, connection: AsyncConnection) -> bool:
        """Lock migrations until the transaction ends; False if another process has the lock."""

    @property
    def beside_writers(self) -> BesideWriters | None:
        """How a database is migrated while others write; None if they wait until all is done."""

    @property
    def partitions(self) -> Partitions | None:
        """The parts of the payloads of calls; None if they are one table."""

    def translate(self, error: BaseException) -> DataLayerError | None:
        """The library's error for an error of the driver; None if the error is not from the database."""
