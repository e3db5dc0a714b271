"""Retention of the payloads of calls: whole months at once where the engine has parts by month, else row by row."""

from sqlalchemy import ColumnElement, and_, delete, func, not_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect, Partitions
from datalayer.schema.review import thread_marks
from datalayer.schema.usage import llm_call_payloads, llm_calls

_payloads = llm_call_payloads.c
_MARKED = select(llm_calls.c.id).join(thread_marks, thread_marks.c.threadId == llm_calls.c.threadId)


async def remove(connection: AsyncConnection, dialect: Dialect, before: str, *, limit: int) -> int:
    """Delete the next payloads of calls before this time, a month or at most `limit` of the oldest; gives how many.

    Those of pinned and flagged threads are kept.
    """
    if dialect.partitions is not None and (count := await _remove_month(connection, dialect.partitions, before)):
        return count
    oldest = select(_payloads.callId).where(payloads_before(before)).order_by(_payloads.createdAt).limit(limit)
    expired = delete(llm_call_payloads).where(_payloads.callId.in_(oldest), _payloads.createdAt < before)
    return int((await connection.execute(expired)).rowcount)


def payloads_before(before: str) -> ColumnElement[bool]:
    """Payloads of calls before then, except for those of marked threads."""
    is_marked = _MARKED.where(llm_calls.c.id == _payloads.callId).exists()
    return and_(_payloads.createdAt < before, not_(is_marked))


async def _remove_month(connection: AsyncConnection, partitions: Partitions, before: str) -> int:
    """Remove all payloads of the oldest part that has expired, but for those of marked threads; gives how many."""
    for name, since, until in await partitions.expired(connection, before):
        within = and_(_payloads.createdAt >= since, _payloads.createdAt < until)
        counted = select(func.count()).select_from(llm_call_payloads).where(within)
        # Old payloads come no more, so nobody has to wait for the counting.
        every = (await connection.execute(counted)).scalar_one()
        is_marked = _payloads.callId.in_(_MARKED)
        kept = (await connection.execute(counted.where(is_marked))).scalar_one() if every else 0
        if every and kept == every:
            continue
        rows = select(llm_call_payloads).where(within, is_marked)
        done = partitions.keep_only(connection, name, rows) if kept else partitions.drop(connection, name)
        if not await done:
            # Others use it. Rows are deleted now, and the part with the next ones.
            return 0
        if every:
            return int(every - kept)
    return 0
