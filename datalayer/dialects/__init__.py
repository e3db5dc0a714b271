"""Everything in which the two engines differ, as one object for each; no other module asks which engine it is.

`Dialect` is SQL that differs. `HotPaths` is the way past SQLAlchemy that an engine may have for its hottest calls.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from sqlalchemy import ColumnElement, Executable, FromClause, Select, Table, TableValuedAlias, TextClause
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from datalayer.errors import DataLayerError
from datalayer.records.search import Query
from datalayer.records.writes import StepKey, StepWrite

Aggregate = Callable[[FromClause, ColumnElement[bool], Sequence[ColumnElement[Any]]], Select[Any]]
"""Aggregates what is in the FROM clause where the condition holds, grouped by some keys, which come first."""

Percentile = Callable[[ColumnElement[Any], int], ColumnElement[Any]]
"""A discrete percentile (as `percentile_disc`) of a column; the second argument is a whole number from 0 to 100."""


class HotPaths(Protocol):
    """What runs most often, on connections of its own: step writes, and reads whose statements are kept.

    The errors are the driver's; `Dialect.translate` knows them.
    """

    @property
    def in_use(self) -> int:
        """How many connections are reading now."""

    async def write_steps(self, writes: Sequence[StepWrite]) -> set[StepKey]:
        """Store the writes in order, and create their threads; gives the keys of the writes that were not refused."""

    async def fetch(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        """The rows, as tuples, of a statement that only reads and is kept by its caller; one round trip."""

    async def close(self) -> None:
        """Close the connections."""


class Dialect(Protocol):
    """The SQL, the connections and the errors in which the engines differ."""

    name: ClassVar[str]
    read_options: ClassVar[dict[str, Any]]
    """Execution options of a connection that only reads, or writes with one statement."""
    row_position: ClassVar[str]
    """The name of the column for a row's place in its table, which is mostly the order of writing."""

    is_favorite: ClassVar[TextClause]
    """Whether a step's metadata marks it as a favourite, exactly as in the index `favorite_steps`."""

    @property
    def hot_paths(self) -> HotPaths | None:
        """The engine's own way past SQLAlchemy; None if it has none."""

    def create_engine(self, url: str, *, for_writes: bool = False, **options: Any) -> AsyncEngine:
        """An engine that has not connected yet; the options of the reading engine also hold for `HotPaths.fetch`.

        Raises:
            ConfigurationError: the URL or an option is not valid for this engine.
        """

    def insert(self, table: Table) -> Any:
        """An INSERT with `on_conflict_do_update`."""

    def merge_json(self, stored: ColumnElement[Any], patch: dict[str, Any]) -> ColumnElement[Any]:
        """The stored object with the patch's keys set, and those removed whose value is None; not recursive."""

    def fill_json(
        self, stored: ColumnElement[Any], patch: dict[str, Any], known: Mapping[str, ColumnElement[bool]]
    ) -> ColumnElement[Any]:
        """The stored object with those keys of the patch added that it lacks and that are not known elsewhere.

        Only needed of an engine without `hot_paths`.
        """

    @staticmethod
    def search_query(owner_key: str, query: Query) -> str:
        """A search in the texts of one user, in the query language of the engine's index."""

    @staticmethod
    def matches_words(wanted: ColumnElement[str]) -> ColumnElement[bool]:
        """Whether a row of `search_texts` matches the `search_query`, answered by the index of words."""

    @staticmethod
    async def forget_words(connection: AsyncConnection, *, begins: bool) -> bool:
        """Rewrite a part of the index without deleted words; True if there is more to rewrite.

        Args:
            begins: whether this is the first part.
        """

    @staticmethod
    def in_ids(column: ColumnElement[Any], ids: Select[Any]) -> ColumnElement[bool]:
        """Whether the id is one of these; they are selected first, and then looked up one by one."""

    @staticmethod
    def any_of(wanted: Sequence[str]) -> str:
        """A query that matches if one of these does; each is from `search_query`."""

    @staticmethod
    def has_any(texts: ColumnElement[Any], others: Sequence[str]) -> ColumnElement[bool]:
        """Whether a column of `Tags` contains at least one of the others."""

    @staticmethod
    def text_in(stored: ColumnElement[Any], key: str) -> ColumnElement[str]:
        """The text under the key of a stored object; NULL if the value is not an object, or not JSON."""

    @staticmethod
    def words_in(words: ColumnElement[Any]) -> TableValuedAlias:
        """The tokens in a column of `Words`, one row for each, as `value`."""

    @staticmethod
    def each(texts: ColumnElement[Any]) -> TableValuedAlias:
        """The tags in a column of `Tags`, one row for each, as `value`."""

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
        """Apply `aggregate` to the chosen rows of each period, by their moment.

        The first column, `period`, is the number of the period, from 0. A period without rows may have none.
        """

    async def lock_migrations(self, connection: AsyncConnection) -> None:
        """Lock migrations until the transaction ends."""

    def translate(self, error: BaseException) -> DataLayerError | None:
        """The library's error for a driver's error, or None if the error is not the database's."""
