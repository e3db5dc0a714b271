"""All in which the two engines differ, as one small object for each; nothing else asks which engine it is."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from sqlalchemy import ColumnElement, Executable, FromClause, Select, Table, TableValuedAlias, TextClause
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from datalayer.errors import DataLayerError
from datalayer.records.search import Query
from datalayer.records.writes import StepKey, StepWrite

Aggregate = Callable[[FromClause, ColumnElement[bool], Sequence[ColumnElement[Any]]], Select[Any]]
"""Aggregates what is in the FROM clause where the condition holds, grouped by some keys, which come first."""

Percentile = Callable[[ColumnElement[Any], int], ColumnElement[Any]]
"""The least value that so many hundredths of the rows do not exceed."""


class Dialect(Protocol):
    """What the table modules need of an engine."""

    name: ClassVar[str]
    read_options: ClassVar[dict[str, Any]]
    """Execution options of a connection that only reads, or writes with one statement."""
    row_position: ClassVar[str]
    """The name under which a row tells where it lies in its table; in the order of writing, mostly."""

    is_favorite: ClassVar[TextClause]
    """Whether a step's metadata marks it as a favourite, in the words of the index `favorite_steps`."""

    @property
    def write_steps(self) -> Callable[[Sequence[StepWrite]], Awaitable[set[StepKey]]] | None:
        """A way of the engine's own to store writes in order, with their threads; None where it has none.

        Gives the keys of those that were not refused.
        """

    @property
    def fetch(self) -> Callable[[Executable, Mapping[str, Any]], Awaitable[Sequence[Any]]] | None:
        """A way of the engine's own to run a statement that only reads, again and again; None where it has none.

        Gives the rows as tuples, in one round trip.
        """

    @property
    def reading(self) -> int:
        """How many connections beside the engine's are reading now."""

    def create_engine(self, url: str, *, for_writes: bool = False, **options: Any) -> AsyncEngine:
        """An engine that has not connected yet; the options of the one that reads hold for `fetch` as well.

        Raises:
            ConfigurationError: the URL or an option makes no sense for this engine.
        """

    def insert(self, table: Table) -> Any:
        """An INSERT that knows `on_conflict_do_update`."""

    def merge_json(self, stored: ColumnElement[Any], patch: dict[str, Any]) -> ColumnElement[Any]:
        """The stored object with the patch's keys set, and those removed whose value is None; not recursive."""

    def fill_json(
        self, stored: ColumnElement[Any], patch: dict[str, Any], known: Mapping[str, ColumnElement[bool]]
    ) -> ColumnElement[Any]:
        """The stored object with those keys of the patch added that it lacks and that are not known elsewhere.

        Needed of an engine without `write_steps` alone.
        """

    @staticmethod
    def wanted(owner_key: str, query: Query) -> str:
        """What is looked for among the texts of one user, in the words of this engine's index."""

    @staticmethod
    def holds(wanted: ColumnElement[str]) -> ColumnElement[bool]:
        """Whether a row of `search_texts` holds what `wanted` says, answered by the index of its words."""

    @staticmethod
    async def forget_words(connection: AsyncConnection, *, begins: bool) -> bool:
        """Rewrite a part of the index of words without those that were deleted; whether there is more to rewrite.

        Args:
            begins: whether this is the first part.
        """

    @staticmethod
    def among(column: ColumnElement[Any], ids: Select[Any]) -> ColumnElement[bool]:
        """Whether the id is one of those, which are found first and then looked up one by one."""

    @staticmethod
    def either(wanted: Sequence[str]) -> str:
        """What holds where one of these does, each of them from `wanted`."""

    @staticmethod
    def overlaps(texts: ColumnElement[Any], others: Sequence[str]) -> ColumnElement[bool]:
        """Whether a column of `Tags` holds one of the others at least."""

    @staticmethod
    def text_in(stored: ColumnElement[Any], key: str) -> ColumnElement[str]:
        """The text under the key of a stored object; NULL where what is stored is no object, or no JSON."""

    @staticmethod
    def words_in(words: ColumnElement[Any]) -> TableValuedAlias:
        """The tokens in a column of `Words`, one row for each, as `value`."""

    @staticmethod
    def each(texts: ColumnElement[Any]) -> TableValuedAlias:
        """What is in a column of `Tags`, one row for each, as `value`."""

    @property
    def percentile(self) -> Percentile | None:
        """An aggregate of the engine's own: the least value that so many hundredths do not exceed; None without one."""

    @staticmethod
    def in_periods(
        table: Table,
        moment: ColumnElement[str],
        chosen: ColumnElement[bool],
        periods: Sequence[tuple[str, str]],
        aggregate: Aggregate,
    ) -> Select[Any]:
        """What `aggregate` makes of the chosen rows, for each period in which their moment may lie.

        The number of the period, from 0, is the first column, `period`. A period without rows has a row or has none.
        """

    async def lock_migrations(self, connection: AsyncConnection) -> None:
        """Until the transaction ends, nobody else migrates."""

    async def close(self) -> None:
        """Let go of what is open beside the engine."""

    def translate(self, error: BaseException) -> DataLayerError | None:
        """The library's error for the driver's, or None where the error is not the database's."""
