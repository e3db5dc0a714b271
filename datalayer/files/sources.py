"""SQL of the files of data sources, for the check of files."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.records.knowledge import DataSource
from datalayer.schema.knowledge import data_sources
from datalayer.schema.rows import columns, record_of

_COLUMNS = columns(DataSource, data_sources)


async def with_files(connection: AsyncConnection, *, after: str | None, limit: int) -> list[DataSource]:
    """The next data sources that have a file, by id."""
    statement = select(*_COLUMNS).where(data_sources.c.objectKey.is_not(None)).order_by(data_sources.c.id).limit(limit)
    if after is not None:
        statement = statement.where(data_sources.c.id > after)
    return [record_of(DataSource, data_sources, row) for row in (await connection.execute(statement)).mappings()]


async def titles_with_files(
    connection: AsyncConnection, *, after: str | None, limit: int
) -> list[tuple[str, str, str]]:
    """Id, key and title of the next data sources that have a file, by id; also in a database of an older version."""
    source = data_sources.c
    statement = select(source.id, source.objectKey, source.title).where(source.objectKey.is_not(None))
    if after is not None:
        statement = statement.where(source.id > after)
    rows = await connection.execute(statement.order_by(source.id).limit(limit))
    return [(str(row.id), str(row.objectKey), str(row.title)) for row in rows]


async def has_file(connection: AsyncConnection, source: DataSource) -> bool:
    """Whether the source still has this file."""
    same = select(data_sources.c.id).where(
        data_sources.c.id == source.id, data_sources.c.objectKey == source.object_key
    )
    return (await connection.execute(same)).scalar() is not None
