"""The prompts of a takeout: those that the user keeps. An import keeps them for the user alone, shared or not."""

from contextlib import aclosing
from typing import Any

from sqlalchemy import ColumnElement, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_time
from datalayer.database import Database
from datalayer.errors import InvalidRecord
from datalayer.prompts.prompts import MOST_PROMPTS, clean_prompt
from datalayer.schema.prompts import prompts
from datalayer.takeout.archive import TakeoutArchive
from datalayer.takeout.format import checked_row, lines_name
from datalayer.writes.queue import Writer
from datalayer.writes.repeats import addition


def prompts_of(user_id: str) -> list[tuple[Table, ColumnElement[str], ColumnElement[bool]]]:
    """The table to export for this user, with the column that orders its rows, and the condition."""
    return [(prompts, func.coalesce(prompts.c.updatedAt, ""), prompts.c.ownerId == user_id)]


async def read_prompts(archive: TakeoutArchive, source_id: str) -> tuple[dict[str, dict[str, Any]], int]:
    """The first MOST_PROMPTS of different names, by name, and how many prompts there are.

    With those of them that the user has, more never fit.

    Raises:
        InvalidRecord: a prompt belongs to someone else, or has an invalid value.
    """
    rows: dict[str, dict[str, Any]] = {}
    found = 0
    async with aclosing(archive.lines(lines_name("", prompts))) as batches:
        async for batch in batches:
            for row in batch:
                found += 1
                cleaned = _cleaned(row, source_id)
                if len(rows) < MOST_PROMPTS:
                    rows.setdefault(cleaned["name"], cleaned)
    return rows, found


async def import_prompts(
    database: Database, writer: Writer, archive: TakeoutArchive, source_id: str, user_id: str
) -> tuple[int, int]:
    """Import the prompts of the takeout's user as prompts of this user; returns how many are new, and left out.

    Left out are a prompt that exists already, one whose name the user has, and what is more than MOST_PROMPTS.

    Raises:
        InvalidRecord: a prompt belongs to someone else, or has an invalid value.
    """
    rows, found = await read_prompts(archive, source_id)

    async def store(connection: AsyncConnection) -> int:
        names = select(prompts.c.name).where(prompts.c.ownerId == user_id)
        taken = set((await connection.execute(names)).scalars())
        new = 0
        for name, row in rows.items():
            if name not in taken and len(taken) + new < MOST_PROMPTS:
                values = row | {"ownerId": user_id, "isShared": False}
                statement = database.dialect.insert(prompts).values(**values)
                new += (await connection.execute(statement.on_conflict_do_nothing())).rowcount
        return new

    change = addition(store, prompts, [row["id"] for row in rows.values()])
    new = int(await writer.submit(change)) if rows else 0
    return new, found - new


def _cleaned(row: Any, source_id: str) -> dict[str, Any]:
    checked = checked_row(prompts, row)
    if checked["ownerId"] != source_id:
        raise InvalidRecord("the takeout contains a prompt of another user")
    name, text = clean_prompt(checked["name"], checked["text"])
    return checked | {"name": name, "text": text, "updatedAt": clean_time(checked["updatedAt"], "time of a prompt")}
