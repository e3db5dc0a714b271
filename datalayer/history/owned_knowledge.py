"""Deletes what assistants know, with the assistants themselves or alone."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.history.file_outbox import abandon
from datalayer.schema.knowledge import data_sources, documents, trainings

DeleteRows = Callable[[AsyncConnection, Table, ColumnElement[bool]], Awaitable[None]]


async def _delete(connection: AsyncConnection, table: Table, condition: ColumnElement[bool]) -> None:
    await connection.execute(delete(table).where(condition))


async def remove(
    connection: AsyncConnection, assistant_ids: Collection[str], delete_rows: DeleteRows = _delete
) -> list[str]:
    """Delete the sources, trainings and documents of assistants; gives the keys of the files, whose deletion is queued.

    Args:
        connection: in a transaction.
        assistant_ids: as in the knowledge: slugs, in the application.
        delete_rows: deletes the rows of a table that match a condition.
    """
    of_sources = select(data_sources.c.objectKey).where(
        data_sources.c.assistantId.in_(assistant_ids), data_sources.c.objectKey.is_not(None)
    )
    keys: list[Any] = list((await connection.execute(of_sources)).scalars())
    for key in keys:
        await abandon(connection, key)
    for table in (documents, trainings, data_sources):
        await delete_rows(connection, table, table.c.assistantId.in_(assistant_ids))
    return keys
