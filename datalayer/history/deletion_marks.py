"""The marks of deleted threads: a late write does not bring a deleted thread back, through whatever process it comes.

The database writes a mark with each deletion, and skips the insert of a marked thread (`schema/deletion_triggers.py`).
Here a write that stored nothing finds out whether that is the reason. Only the existence of a mark counts, so clocks
that differ do no harm; its time only serves to remove it.
"""

import logging
from functools import cache

from sqlalchemy import ColumnElement, Executable, and_, bindparam, delete, exists, not_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_in
from datalayer.database import Run
from datalayer.schema.chat import Identifier, deleted_threads, threads

logger = logging.getLogger(__name__)

KEPT_SECONDS = 366 * 24 * 3600.0
"""For how long a mark is kept: longer than a spool file waits for its replay, or a page stays open."""


def is_deleted(thread_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the thread was deleted, as a condition."""
    is_marked, is_there = (exists().where(table.c.id == thread_id) for table in (deleted_threads, threads))
    return and_(is_marked, not_(is_there))


@cache
def _whether_deleted() -> Executable:
    return select(is_deleted(bindparam("thread_id", type_=Identifier, required=True)))


async def drops(run: Run, thread_id: str | None) -> bool:
    """Whether a write that stored nothing is dropped, because its thread was deleted."""
    if thread_id is None:
        return False
    ((deleted,),) = await run(_whether_deleted(), {"thread_id": thread_id})
    if deleted:
        log_drop(thread_id)
    return bool(deleted)


def log_drop(thread_id: str | None) -> None:
    logger.info("dropped a write to a deleted thread", extra={"thread_id": thread_id})


async def remove(connection: AsyncConnection, thread_id: str) -> None:
    """Remove the mark of this thread, so that it can be stored again: somebody imports it."""
    await connection.execute(delete(deleted_threads).where(deleted_threads.c.id == thread_id))


async def expire(connection: AsyncConnection) -> None:
    """Remove the marks that are older than `KEPT_SECONDS`."""
    await connection.execute(delete(deleted_threads).where(deleted_threads.c.deletedAt < utc_in(-KEPT_SECONDS)))
