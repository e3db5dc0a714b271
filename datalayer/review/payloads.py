"""Retention of the payloads of calls: whole months first where the engine has parts by month, then the other rows."""

import logging
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, not_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.database import Database
from datalayer.errors import StorageUnavailable
from datalayer.schema.review import thread_marks
from datalayer.schema.usage import llm_call_payloads, llm_calls

logger = logging.getLogger(__name__)

_payloads = llm_call_payloads.c
_MARKED = select(llm_calls.c.id).join(thread_marks, thread_marks.c.threadId == llm_calls.c.threadId)


async def remove_months(database: Database, before: str) -> int:
    """Remove the payloads of each part that has expired, in a transaction of its own; gives how many.

    Those of pinned and flagged threads are kept. At the first month that cannot be removed now it stops: each attempt
    holds up others for up to half a second. The rows of the other months are left to `remove_rows`.
    """
    partitions = database.dialect.partitions
    if partitions is None:
        return 0
    count = 0
    try:
        async with database.read() as connection:
            months = await partitions.expired(connection, before)
        for name, since, until in months:
            rows = select(llm_call_payloads).where(_payloads.createdAt >= since, _payloads.createdAt < until)
            marked = rows.where(_payloads.callId.in_(_MARKED))
            # Old payloads come no more, so nobody has to wait for the counting.
            async with database.read() as connection:
                every = await _number(connection, rows)
                kept = await _number(connection, marked) if every else 0
            if every and kept == every:
                continue
            async with database.write() as connection:
                if kept:
                    is_done = await partitions.keep_only(connection, name, marked)
                else:
                    is_done = await partitions.drop(connection, name, marked)
            if not is_done:
                break
            count += every - kept
    except StorageUnavailable as error:
        logger.warning("not all months of old payloads could be removed at once, so rows are deleted: %s", error)
    return count


async def remove_rows(connection: AsyncConnection, before: str, *, limit: int) -> int:
    """Delete the next payloads of calls before this time, at most `limit` of the oldest; gives how many.

    Those of pinned and flagged threads are kept.
    """
    oldest = select(_payloads.callId).where(payloads_before(before)).order_by(_payloads.createdAt).limit(limit)
    expired = delete(llm_call_payloads).where(_payloads.callId.in_(oldest), _payloads.createdAt < before)
    return int((await connection.execute(expired)).rowcount)


def payloads_before(before: str) -> ColumnElement[bool]:
    """Payloads of calls before then, except for those of marked threads."""
    is_marked = _MARKED.where(llm_calls.c.id == _payloads.callId).exists()
    return and_(_payloads.createdAt < before, not_(is_marked))


async def _number(connection: AsyncConnection, rows: Select[Any]) -> int:
    counted = rows.with_only_columns(func.count(), maintain_column_froms=True)
    return int((await connection.execute(counted)).scalar_one())
