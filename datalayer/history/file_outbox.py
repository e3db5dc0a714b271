"""Which files are to be deleted from the blob store: an outbox, written in the transaction that makes them needless.

A row goes when its file is gone, so that whatever happens between the two, the file is deleted in the end. A file on
its way into the store has a row as well, due only when it is certain that nobody is sending it any more; the
transaction of the element's row takes it away.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_now
from datalayer.schema.chat import blob_deletions, elements

ABANDONED_AFTER_SECONDS = 7 * 24 * 3600.0
"""An announced file without a row is deleted after this time: by then no process is still sending it, and no spool file
holds its row."""


@dataclass(frozen=True, slots=True)
class DueDeletion:
    id: int
    object_key: str
    thread_id: str | None


async def queue_files(connection: AsyncConnection, condition: ColumnElement[bool]) -> list[str]:
    """Queue the files of the elements that the condition holds for, whose rows go in this transaction; their keys."""
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
    """Queue a file that is about to be stored, for the case that nobody comes to make its element's row."""
    values = {"objectKey": object_key, "threadId": thread_id, "queuedAt": utc_now(), "dueAt": due_at}
    await connection.execute(insert(blob_deletions).values(**values))


async def abandon(connection: AsyncConnection, object_key: str) -> None:
    """An announced file is not to come: what there is of it is due now, whether the announcement was stored or not."""
    now = utc_now()
    statement = update(blob_deletions).where(blob_deletions.c.objectKey == object_key)
    if not (await connection.execute(statement.values(dueAt=now))).rowcount:
        await announce(connection, object_key, None, now)


async def forget(connection: AsyncConnection, object_keys: Collection[str]) -> None:
    """The files are gone, or belong to an element."""
    await connection.execute(delete(blob_deletions).where(blob_deletions.c.objectKey.in_(object_keys)))


async def due(connection: AsyncConnection, now: str, *, after: int, most: int) -> Sequence[DueDeletion]:
    """What is to be deleted by now, those of a larger id than `after`, in order."""
    statement = (
        select(blob_deletions.c.id, blob_deletions.c.objectKey, blob_deletions.c.threadId)
        .where(blob_deletions.c.id > after, blob_deletions.c.dueAt <= now)
        .order_by(blob_deletions.c.id)
        .limit(most)
    )
    return [DueDeletion(*row) for row in await connection.execute(statement)]


async def in_use(connection: AsyncConnection, object_keys: Collection[str]) -> set[str]:
    """Those of the files that an element has."""
    statement = select(elements.c.objectKey).where(elements.c.objectKey.in_(object_keys))
    return set((await connection.execute(statement)).scalars())
