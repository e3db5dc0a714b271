"""SQL of data sources. Their files are in the blob store, under keys that begin with `PREFIX`."""

from collections.abc import Callable, Collection
from dataclasses import replace

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_text, utc_now
from datalayer.errors import NotFound, SourceChanged
from datalayer.history import file_outbox
from datalayer.records.knowledge import DataSource
from datalayer.schema.knowledge import data_sources, documents
from datalayer.schema.rows import columns, record_of

PREFIX = "knowledge"
_COLUMNS = columns(DataSource, data_sources)


async def list_of(connection: AsyncConnection, assistant_id: str) -> list[DataSource]:
    """The sources of an assistant, oldest first."""
    statement = select(*_COLUMNS).where(data_sources.c.assistantId == assistant_id)
    statement = statement.order_by(data_sources.c.createdAt, data_sources.c.id)
    return [record_of(DataSource, data_sources, row) for row in (await connection.execute(statement)).mappings()]


async def find(
    connection: AsyncConnection, assistant_id: str, kind: str, *, title: str | None, address: str | None
) -> DataSource | None:
    """The oldest source of this kind that has the title or the address; None if there is none."""
    statement = select(*_COLUMNS).where(data_sources.c.assistantId == assistant_id, data_sources.c.kind == kind)
    if title is not None:
        statement = statement.where(data_sources.c.title == clean_text(title))
    if address is not None:
        statement = statement.where(data_sources.c.options["address"].as_string() == clean_text(address))
    statement = statement.order_by(data_sources.c.createdAt, data_sources.c.id).limit(1)
    row = (await connection.execute(statement)).mappings().first()
    return None if row is None else record_of(DataSource, data_sources, row)


async def with_ids(connection: AsyncConnection, source_ids: Collection[str]) -> list[DataSource]:
    """The sources with these ids, oldest first."""
    statement = select(*_COLUMNS).where(data_sources.c.id.in_(source_ids))
    statement = statement.order_by(data_sources.c.createdAt, data_sources.c.id)
    return [record_of(DataSource, data_sources, row) for row in (await connection.execute(statement)).mappings()]


async def get(connection: AsyncConnection, source_id: str, *, is_locked: bool = False) -> DataSource | None:
    """The source. `is_locked`: no other process changes or deletes it until the transaction ends."""
    statement = select(*_COLUMNS).where(data_sources.c.id == source_id)
    if is_locked:
        statement = statement.with_for_update()
    row = (await connection.execute(statement)).mappings().first()
    return None if row is None else record_of(DataSource, data_sources, row)


async def put(
    connection: AsyncConnection, source: DataSource, *, has_file: bool, replaces: str | None
) -> tuple[DataSource, list[str]]:
    """Store a source, or replace the one with its id; gives it as stored, and the keys of the files to delete.

    Args:
        has_file: whether the source has a new file, which was announced in the outbox before it was stored; without
            one, it keeps the file that is there.
        replaces: the checksum of the file that must be there.

    Raises:
        SourceChanged: another file is there, or the source is deleted.
    """
    known = await get(connection, source.id, is_locked=True)
    _demand_file(known, source.id, replaces)
    return await _store(connection, known, source, has_file=has_file)


async def change(
    connection: AsyncConnection,
    source_id: str,
    changed: Callable[[DataSource], DataSource],
    *,
    file: DataSource | None,
    replaces: str | None,
) -> tuple[DataSource, list[str]]:
    """Change a source that is there; gives it as stored, and the keys of the files to delete.

    Args:
        changed: gives the new source from the stored one.
        file: has the new file, which was announced in the outbox before it was stored; None: the source keeps its file.
        replaces: the checksum of the file that must be there.

    Raises:
        NotFound: there is no such source.
        SourceChanged: another file is there.
    """
    known = await get(connection, source_id, is_locked=True)
    if known is None:
        raise NotFound(f"there is no data source {source_id}")
    _demand_file(known, source_id, replaces)
    source = changed(known)
    if file is not None:
        source = replace(source, object_key=file.object_key, byte_size=file.byte_size, sha256=file.sha256)
    return await _store(connection, known, source, has_file=file is not None)


def _demand_file(known: DataSource | None, source_id: str, sha256: str | None) -> None:
    if sha256 is not None and (known is None or known.sha256 != sha256):
        raise SourceChanged(f"the file of the data source {source_id} has changed meanwhile")


async def _store(
    connection: AsyncConnection, known: DataSource | None, source: DataSource, *, has_file: bool
) -> tuple[DataSource, list[str]]:
    """Store a source in place of the known one, whose row is locked."""
    if known is not None and not has_file:
        source = replace(source, object_key=known.object_key, byte_size=known.byte_size, sha256=known.sha256)
    source = replace(source, fetched=known.fetched if known else None)
    if known is not None and (known.kind, known.options.get("address")) != (source.kind, source.options.get("address")):
        # What is at another address says nothing about this one.
        source = replace(source, fetched=None)
        if not has_file:
            source = replace(source, object_key=None, byte_size=None, sha256=None)
    now = utc_now()
    stored = replace(source, created_at=known.created_at if known else now, updated_at=now)
    values = {
        "assistantId": stored.assistant_id,
        "kind": stored.kind,
        "title": stored.title,
        "options": stored.options,
        "objectKey": stored.object_key,
        "byteSize": stored.byte_size,
        "sha256": stored.sha256,
        "createdAt": stored.created_at,
        "updatedAt": stored.updated_at,
        "fetched": stored.fetched,
    }
    if stored.object_key is not None:
        await file_outbox.forget(connection, [stored.object_key])
    if known is None:
        await connection.execute(insert(data_sources).values(id=stored.id, **values))
        return stored, []
    old = known.object_key if known.object_key != stored.object_key else None
    await connection.execute(update(data_sources).where(data_sources.c.id == source.id).values(**values))
    return stored, await _queue(connection, old)


async def keep_fetched(
    connection: AsyncConnection, source: DataSource, fetched: DataSource
) -> tuple[DataSource, list[str]]:
    """Store the content that was fetched for a source; gives it as stored, and the keys of the files to delete.

    Raises:
        SourceChanged: the source is not as it was any more.
    """
    known = await get(connection, source.id, is_locked=True)
    if known is None or (known.kind, known.options, known.sha256) != (source.kind, source.options, source.sha256):
        raise SourceChanged(f"the data source {source.id} has changed while it was fetched")
    values = {
        "objectKey": fetched.object_key,
        "byteSize": fetched.byte_size,
        "sha256": fetched.sha256,
        "fetched": fetched.fetched,
    }
    await connection.execute(update(data_sources).where(data_sources.c.id == source.id).values(**values))
    if fetched.object_key is not None:
        await file_outbox.forget(connection, [fetched.object_key])
    old = known.object_key if known.object_key != fetched.object_key else None
    return (await get(connection, source.id)) or fetched, await _queue(connection, old)


async def remove(connection: AsyncConnection, source_id: str) -> list[str]:
    """Delete a source with its documents of all trainings; gives the keys of the files to delete.

    Raises:
        NotFound: there is no such source.
    """
    found = await get(connection, source_id, is_locked=True)
    if found is None:
        raise NotFound(f"there is no data source {source_id}")
    await connection.execute(delete(documents).where(documents.c.sourceId == source_id))
    await connection.execute(delete(data_sources).where(data_sources.c.id == source_id))
    return await _queue(connection, found.object_key)


async def _queue(connection: AsyncConnection, object_key: str | None) -> list[str]:
    if object_key is None:
        return []
    await file_outbox.announce(connection, object_key, None, utc_now())
    return [object_key]
