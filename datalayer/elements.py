"""Elements: the rows of files and pictures. Their bytes are in the blob store, under `objectKey`."""

from sqlalchemy import and_, case, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer import blob_deletions
from datalayer.dialects import Dialect
from datalayer.errors import Forbidden
from datalayer.records import Element
from datalayer.rows import columns, given, newest_extra, record_of
from datalayer.schema import elements

_COLUMNS = columns(Element, elements)


async def upsert(connection: AsyncConnection, dialect: Dialect, element: Element, *, now: str) -> None:
    """Store what is given of the element; a second write of the same element is its newer state.

    Raises:
        Forbidden: there is an element of this id in another thread.
    """
    values = {"name": "", "createdAt": now} | given(element, elements)
    statement = dialect.insert(elements).values(**values)
    changes = {key: statement.excluded[key] for key in given(element, elements) if key not in ("id", "createdAt")}
    merged = dialect.merge_json(elements.c.extra, newest_extra(element, elements))
    changes["extra"] = merged if element.extra else case((elements.c.extra.is_not(None), merged))
    same = elements.c.threadId.is_not_distinct_from(statement.excluded.threadId)
    statement = statement.on_conflict_do_update(index_elements=[elements.c.id], set_=changes, where=same)
    if not (await connection.execute(statement)).rowcount:
        raise Forbidden("an element of this id is in another thread")


async def get(connection: AsyncConnection, element_id: str) -> Element | None:
    row = (await connection.execute(select(*_COLUMNS).where(elements.c.id == element_id))).mappings().first()
    return record_of(Element, elements, row) if row else None


async def replace_file(connection: AsyncConnection, element: Element) -> list[str]:
    """The element is to have another file: queue the one it has, if any; gives that one's object key."""
    older = and_(elements.c.id == element.id, elements.c.objectKey != element.object_key)
    replaced = await blob_deletions.queue_files(connection, older)
    await blob_deletions.forget(connection, [str(element.object_key)])
    return replaced


async def delete_element(connection: AsyncConnection, element_id: str) -> list[str]:
    """Delete the row and queue its file, if it has one; gives its object key."""
    keys = await blob_deletions.queue_files(connection, elements.c.id == element_id)
    await connection.execute(delete(elements).where(elements.c.id == element_id))
    return keys
