"""The prompts of a takeout: those that the user keeps. An import keeps them for the user alone, shared or not."""

from contextlib import aclosing
from typing import Any

from sqlalchemy import ColumnElement, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.database import Database
from datalayer.errors import InvalidRecord
from datalayer.schema.prompts import prompts
from datalayer.takeout.archive import TakeoutArchive
from datalayer.takeout.format import checked_row, lines_name
from datalayer.writes.queue import Writer


def prompts_of(user_id: str) -> list[tuple[Table, ColumnElement[str], ColumnElement[bool]]]:
    """The table to export for this user, with the column that orders its rows, and the condition."""
    return [(prompts, func.coalesce(prompts.c.updatedAt, ""), prompts.c.ownerId == user_id)]


async def import_prompts(
    database: Database, writer: Writer, archive: TakeoutArchive, source_id: str, user_id: str
) -> int:
    """Import the prompts of the takeout's user as prompts of this user; returns how many are new.

    A prompt that exists already, or whose name the user has, is left out.

    Raises:
        InvalidRecord: a prompt belongs to someone else, or has an invalid value.
    """
    rows: list[dict[str, Any]] = []
    async with aclosing(archive.lines(lines_name("", prompts))) as batches:
        async for batch in batches:
            rows += [checked_row(prompts, row) for row in batch]
    if any(row["ownerId"] != source_id for row in rows):
        raise InvalidRecord("the takeout contains a prompt of another user")

    async def store(connection: AsyncConnection) -> int:
        names = select(prompts.c.name).where(prompts.c.ownerId == user_id)
        taken = set((await connection.execute(names)).scalars())
        new = 0
        for row in rows:
            if row["name"] not in taken:
                values = row | {"ownerId": user_id, "isShared": False}
                statement = database.dialect.insert(prompts).values(**values)
                new += (await connection.execute(statement.on_conflict_do_nothing())).rowcount
        return new

    return int(await writer.submit(store)) if rows else 0
