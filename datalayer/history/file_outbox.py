"""The outbox of files to delete from the blob store, written in the transaction that deletes their rows.

An outbox row is deleted after its file, so a crash in between only delays the deletion. A file that is being uploaded
has an outbox row too, due when it is certain that no process is still sending it; the transaction of the element's row
deletes that outbox row.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, delete, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_now
from datalayer.schema.chat import blob_deletions, elements
from datalayer.schema.knowledge import data_sources

ABANDONED_AFTER_SECONDS = 7 * 24 * 3600.0
"""An announced file without a row is deleted after this time: by then no process is still sending it, and no spool file
holds its row."""


@dataclass(frozen=True, slots=True)
class DueDeletion:
    id: int
    object_key: str
    thread_id: str | None


async def queue_files(connection: AsyncConnection, condition: ColumnElement[bool]) -> list[str]:
    """Queue the files of the chosen elements, whose rows are deleted in this transaction; gives their keys."""
    now = literal(utc_now())
    chosen = select(elements.c.objectKey, elements.c.threadId, now.label("queued"), now.label("due"))
    statement = (
        insert(blob_deletions)
        .from_select(
            ["objectKey", "threadId", "queuedAt", "dueAt"], chosen.where(condition, elements.c.objectKey.is_not(None))
        )
        .returning(blob_deletions.c.objectKey)
    )
    return list((await connection.execute(statement)).scalars())


async def announce(connection: AsyncConnection, object_key: str, thread_id: str | None, due_at: str) -> None:
    """Queue a file that is about to be stored, in case its element is never stored."""
    values = {"objectKey": object_key, "threadId": thread_id, "queuedAt": utc_now(), "dueAt": due_at}
    await connection.execute(insert(blob_deletions).values(**values))


async def abandon(connection: AsyncConnection, *object_keys: str, due_at: str | None = None) -> None:
    """Delete announced files now, or at this time, whether their announcements were stored or not."""
    now = due_at or utc_now()
    for object_key in object_keys:
        statement = update(blob_deletions).where(blob_deletions.c.objectKey == object_key)
        if not (await connection.execute(statement.values(dueAt=now))).rowcount:
            await announce(connection, object_key, None, now)


async def forget(connection: AsyncConnection, object_keys: Collection[str]) -> None:
    """Remove the files from the outbox: they are deleted, or belong to an element."""
    await connection.execute(delete(blob_deletions).where(blob_deletions.c.objectKey.in_(object_keys)))


async def forget_used(connection: AsyncConnection, object_keys: Collection[str]) -> None:
    """Remove those of the files from the outbox that belong to an element or a data source now.

    In one statement: a file whose last row is deleted at this moment is in the outbox for that.
    """
    is_used = blob_deletions.c.objectKey.in_(_used(object_keys))
    await connection.execute(delete(blob_deletions).where(blob_deletions.c.objectKey.in_(object_keys), is_used))


async def due(connection: AsyncConnection, now: str, *, after: int, most: int) -> Sequence[DueDeletion]:
    """The due deletions with an id larger than `after`, in order."""
    statement = (
        select(blob_deletions.c.id, blob_deletions.c.objectKey, blob_deletions.c.threadId)
        .where(blob_deletions.c.id > after, blob_deletions.c.dueAt <= now)
        .order_by(blob_deletions.c.id)
        .limit(most)
    )
    return [DueDeletion(*row) for row in await connection.execute(statement)]


async def in_use(connection: AsyncConnection, object_keys: Collection[str]) -> set[str]:
    """The keys that belong to an element or a data source."""
    return set((await connection.execute(_used(object_keys))).scalars())


def _used(object_keys: Collection[str]) -> CompoundSelect[Any]:
    of_elements = select(elements.c.objectKey).where(elements.c.objectKey.in_(object_keys))
    of_sources = select(data_sources.c.objectKey).where(data_sources.c.objectKey.in_(object_keys))
    return of_elements.union_all(of_sources)
