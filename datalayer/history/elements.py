"""Elements: the rows of files and pictures. Their bytes are in the blob store, under `objectKey`."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Executable, and_, bindparam, case, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.database import Database
from datalayer.dialects import Dialect
from datalayer.errors import Forbidden
from datalayer.history import file_outbox
from datalayer.records.chat import Element
from datalayer.schema.chat import Identifier, elements, steps, threads
from datalayer.schema.rows import columns, given, newest_extra, record_of

# The key in `extra` for the time at which the element's file was found missing.
MISSING_SINCE = "fileMissingSince"
STAYS_WITH_VERSION = "stays_with_version"
"""The key in `props` of an element that stays when its answer is removed, as the text of the answer does: a version of
the answer needs it. It is deleted with the thread."""

_COLUMNS = columns(Element, elements)


def goes_with_step(dialect: type[Dialect] | Dialect) -> ColumnElement[bool]:
    """Whether an element is deleted with its step: it does not stay with a version of it."""
    return dialect.text_in(elements.c.props, STAYS_WITH_VERSION).is_(None)


async def upsert(connection: AsyncConnection, dialect: Dialect, element: Element, *, now: str) -> None:
    """Store the given fields of the element; a second write of the same element replaces them.

    Raises:
        Forbidden: an element with this id is in another thread.
    """
    values = {"name": "", "createdAt": now} | given(element, elements)
    statement = dialect.insert(elements).values(**values)
    changes = {key: statement.excluded[key] for key in given(element, elements) if key not in ("id", "createdAt")}
    merged = dialect.merge_json(elements.c.extra, newest_extra(element, elements))
    changes["extra"] = merged if element.extra else case((elements.c.extra.is_not(None), merged))
    same = elements.c.threadId.is_not_distinct_from(statement.excluded.threadId)
    statement = statement.on_conflict_do_update(index_elements=[elements.c.id], set_=changes, where=same)
    if not (await connection.execute(statement)).rowcount:
        raise Forbidden("an element with this id is in another thread")


async def get(connection: AsyncConnection, element_id: str) -> Element | None:
    row = (await connection.execute(select(*_COLUMNS).where(elements.c.id == element_id))).mappings().first()
    return record_of(Element, elements, row) if row else None


async def find(
    database: Database, thread_id: str, element_id: str
) -> tuple[str | None, dict[str, Any] | None, Sequence[Any]] | None:
    """The owner and the metadata of the thread, and the element in it: its values by field, in one round trip."""
    rows = await database.fetch(_in_thread(), {"thread_id": thread_id, "element_id": element_id})
    return (rows[0][0], rows[0][1], rows[0][2:]) if rows else None


@cache
def _in_thread() -> Executable:
    wanted = {name: bindparam(name, type_=Identifier, required=True) for name in ("thread_id", "element_id")}
    return (
        select(threads.c.userIdentifier, threads.c.metadata, *columns(Element, elements, "element_"))
        .join_from(elements, threads, threads.c.id == elements.c.threadId)
        .where(elements.c.id == wanted["element_id"], threads.c.id == wanted["thread_id"])
    )


async def with_files(connection: AsyncConnection, *, after: str | None, limit: int) -> list[Element]:
    """The next elements that have a file, by id."""
    statement = select(*_COLUMNS).where(elements.c.objectKey.is_not(None)).order_by(elements.c.id).limit(limit)
    if after is not None:
        statement = statement.where(elements.c.id > after)
    rows = (await connection.execute(statement)).mappings()
    return [record_of(Element, elements, row) for row in rows]


async def unmarked_files(
    connection: AsyncConnection, dialect: Dialect, *, after: str | None, limit: int
) -> list[tuple[str, str]]:
    """The next elements that have a file that is not marked as missing: ids, in their order, and object keys."""
    is_unmarked = dialect.text_in(elements.c.extra, MISSING_SINCE).is_(None)
    statement = select(elements.c.id, elements.c.objectKey).where(elements.c.objectKey.is_not(None), is_unmarked)
    if after is not None:
        statement = statement.where(elements.c.id > after)
    rows = await connection.execute(statement.order_by(elements.c.id).limit(limit))
    return [(element_id, object_key) for element_id, object_key in rows]


async def by_object_key(connection: AsyncConnection, keys: Sequence[str]) -> dict[str, Element]:
    """The elements whose files have these keys."""
    rows = (await connection.execute(select(*_COLUMNS).where(elements.c.objectKey.in_(keys)))).mappings()
    return {str(row["objectKey"]): record_of(Element, elements, row) for row in rows}


async def attach(connection: AsyncConnection, thread_id: str, element_ids: Sequence[str], step_id: str) -> list[int]:
    """Let those of these elements of the thread that are of no step be of this one; gives the sizes of their files.

    Those that are of this step already count too: an attempt may have been committed, and its answer lost.
    """
    is_free = or_(elements.c.forId.is_(None), elements.c.forId == step_id)
    these = (elements.c.id.in_(element_ids), elements.c.threadId == thread_id, is_free)
    statement = update(elements).where(*these).values(forId=step_id).returning(elements.c.byteSize)
    return [size or 0 for size in (await connection.execute(statement)).scalars()]


async def detach(connection: AsyncConnection, thread_id: str, step_id: str) -> None:
    """Let the elements of this step of the thread be of no step, if the step is not stored."""
    is_stored = select(steps.c.id).where(steps.c.id == step_id).exists()
    these = (elements.c.threadId == thread_id, elements.c.forId == step_id, ~is_stored)
    await connection.execute(update(elements).where(*these).values(forId=None))


async def describe_file(connection: AsyncConnection, element: Element, byte_size: int, sha256: str) -> bool:
    """Store size and checksum of a file whose row has none; False if the row has them meanwhile."""
    statement = (
        update(elements)
        .where(elements.c.id == element.id, elements.c.objectKey == element.object_key, elements.c.sha256.is_(None))
        .values(byteSize=byte_size, sha256=sha256)
    )
    return bool((await connection.execute(statement)).rowcount)


async def mark_file(
    connection: AsyncConnection, dialect: Dialect, element_id: str, object_key: str, missing_since: str | None
) -> None:
    """Mark the row's file, if it still is that one, as missing since this time, or clear the mark (None)."""
    merged = dialect.merge_json(elements.c.extra, {MISSING_SINCE: missing_since})
    same = (elements.c.id == element_id, elements.c.objectKey == object_key)
    await connection.execute(update(elements).where(*same).values(extra=merged))


async def replace_file(connection: AsyncConnection, element: Element) -> list[str]:
    """Queue the element's present file for deletion, if it has one; gives its object key."""
    older = and_(elements.c.id == element.id, elements.c.objectKey != element.object_key)
    replaced = await file_outbox.queue_files(connection, older)
    await file_outbox.forget(connection, [str(element.object_key)])
    return replaced


async def delete_element(connection: AsyncConnection, element_id: str) -> list[str]:
    """Delete the row and queue its file, if it has one; gives its object key."""
    keys = await file_outbox.queue_files(connection, elements.c.id == element_id)
    await connection.execute(delete(elements).where(elements.c.id == element_id))
    return keys
