"""Rows in the SQL database: looked up by their keys, inserted where they are missing, replaced where they are older."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table, bindparam, exists, func, select, update

from datalayer.database import Database
from datalayer.errors import InvalidRecord, StatementRefused
from datalayer.history import feedback
from datalayer.schema.chat import steps
from datalayer.schema.review import step_versions
from datalayer.transfer.item_rows import Row

_AT_ONCE = 200


MEANWHILE = "that were changed in the target during this run (not changed)"
"""What happened to rows that `SqlRows.replace` leaves."""


class SqlRows:
    """The rows of one database; None stands for one that has no tables yet."""

    def __init__(self, database: Database | None) -> None:
        self._database = database

    async def where(self, table: Table, column: str, values: Sequence[str]) -> list[Row]:
        """The rows that have one of these values in a column."""
        found: list[Row] = []
        for at in range(0, len(values) if self._database is not None else 0, _AT_ONCE):
            assert self._database is not None
            statement = select(table).where(table.c[column].in_(values[at : at + _AT_ONCE]))
            async with self._database.read() as connection:
                found += map(dict, (await connection.execute(statement)).mappings())
        return found

    async def insert(self, table: Table, rows: Sequence[Row]) -> tuple[list[Any], list[tuple[Row, str]]]:
        """Insert rows of the same columns, except those that meet a row or a mark of a deletion.

        Returns:
            The ids of the inserted rows, and the rows that the database refuses, each with the reason.
        """
        stored: list[Any] = []
        refused: list[tuple[Row, str]] = []
        for at in range(0, len(rows), _AT_ONCE):
            await self._insert(table, rows[at : at + _AT_ONCE], stored, refused)
        return stored, refused

    async def _insert(
        self, table: Table, rows: Sequence[Row], stored: list[Any], refused: list[tuple[Row, str]]
    ) -> None:
        assert self._database is not None
        statement = self._database.dialect.insert(table).on_conflict_do_nothing().returning(table.c.id)
        try:
            async with self._database.write() as connection:
                stored += (await connection.execute(statement, list(rows))).scalars()
        except (InvalidRecord, StatementRefused) as error:
            if len(rows) == 1:
                refused.append((rows[0], str(error)))
                return
            # Only the one that the database refuses is left out.
            middle = len(rows) // 2
            await self._insert(table, rows[:middle], stored, refused)
            await self._insert(table, rows[middle:], stored, refused)

    async def removed_messages(self, step_ids: Sequence[str]) -> set[str]:
        """The ids of these that are messages which were deleted here. No other steps leave a mark."""
        found: set[str] = set()
        for at in range(0, len(step_ids) if self._database is not None else 0, _AT_ONCE):
            assert self._database is not None
            version = step_versions.c
            statement = select(version.stepId).where(
                version.stepId.in_(step_ids[at : at + _AT_ONCE]),
                version.change == "removed",
                ~exists().where(steps.c.id == version.stepId),
            )
            async with self._database.read() as connection:
                found.update((await connection.execute(statement)).scalars())
        return found

    async def replace(self, table: Table, rows: Sequence[tuple[Row, str | None]]) -> set[str]:
        """Set the columns of existing rows, each given with the `updatedAt` that was found.

        Returns:
            The ids of those that were changed. The others have another time by now, or are gone, and stay so.
        """
        assert self._database is not None
        replaced: set[str] = set()
        for at in range(0, len(rows), _AT_ONCE):
            some = rows[at : at + _AT_ONCE]
            given = [{f"new_{name}": one for name, one in row.items()} | {"old_time": old} for row, old in some]
            names = [name for name in some[0][0] if name != "id"]
            moment = func.coalesce(table.c.updatedAt, "")
            statement = (
                update(table)
                .where(table.c.id == bindparam("new_id"))
                .where(moment == func.coalesce(bindparam("old_time", type_=table.c.updatedAt.type), ""))
                .values({name: bindparam(f"new_{name}", type_=table.c[name].type) for name in names})
            )
            # How many rows many statements have changed is unknown with asyncpg, so the times are read again.
            ids = [row["id"] for row, _ in some]
            times = select(table.c.id, moment.label("time")).where(table.c.id.in_(ids))
            async with self._database.write() as connection:
                await connection.execute(statement, given)
                there = {one["id"]: one["time"] for one in (await connection.execute(times)).mappings()}
            replaced |= {row["id"] for row, _ in some if there.get(row["id"]) == (row["updatedAt"] or "")}
        return replaced

    async def mark_answers(self, thread_ids: Sequence[str]) -> None:
        """Let the review look at these threads again. No trigger marks them for the history of votes."""
        assert self._database is not None
        async with self._database.write() as connection:
            await feedback.mark_answers(connection, thread_ids)
