"""Deletes what assistants know, with the assistants themselves or alone."""

from collections.abc import Awaitable, Callable, Collection

from sqlalchemy import ColumnElement, Table, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.history.file_outbox import abandon
from datalayer.schema.knowledge import data_sources, documents, trainings

_SOURCES_AT_ONCE = 500
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
    # Locked, so that no other process gives a source another file before its row is deleted.
    some = (
        select(data_sources.c.id, data_sources.c.objectKey)
        .where(data_sources.c.assistantId.in_(assistant_ids))
        .limit(_SOURCES_AT_ONCE)
        .with_for_update()
    )
    keys: list[str] = []
    # Until there is none, because others may add sources meanwhile.
    while found := (await connection.execute(some)).all():
        files = [key for _, key in found if key is not None]
        for key in files:
            await abandon(connection, key)
        keys += files
        await delete_rows(connection, data_sources, data_sources.c.id.in_([source_id for source_id, _ in found]))
    for table in (documents, trainings):
        await delete_rows(connection, table, table.c.assistantId.in_(assistant_ids))
    return keys
