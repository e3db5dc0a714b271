"""What is kept no longer: threads, files, payloads of calls and the audit, each from a time on that the operator sets.

Earlier versions of messages are payloads, too: what was said, and is kept beside what counts.

Threads that are pinned or flagged are exempt with all that is in them, and so are those of which a reviewer has a copy
(or a copy of a copy) that is pinned, flagged or in use: it goes with its original. A plan counts and changes nothing.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.history import feedback
from datalayer.history.file_outbox import queue_files
from datalayer.records.review import RetentionClass, RetentionPlan
from datalayer.review import audit
from datalayer.schema.chat import elements, steps, threads
from datalayer.schema.review import step_versions, thread_marks, thread_origins
from datalayer.schema.usage import llm_call_payloads, llm_calls

AT_ONCE = 50
PAYLOADS_AT_ONCE = 1_000
CLASSES: tuple[RetentionClass, ...] = ("payloads", "files", "threads", "audit")
"""In the order in which they are applied."""


async def plan(connection: AsyncConnection, kind: RetentionClass, before: str) -> RetentionPlan:
    """What of the class would go."""
    if kind == "audit":
        return RetentionPlan(kind, before, *await audit.count_older(connection, before))
    if kind == "payloads":
        taken = every_old = 0
        for table, moment, goes in (
            (llm_call_payloads, llm_call_payloads.c.createdAt, payloads_before(before)),
            (step_versions, step_versions.c.replacedAt, versions_before(before)),
        ):
            counted = select(func.count()).select_from(table)
            taken += (await connection.execute(counted.where(goes))).scalar_one()
            every_old += (await connection.execute(counted.where(moment < before))).scalar_one()
        return RetentionPlan(kind, before, taken, every_old - taken)
    size = func.coalesce(func.sum(elements.c.byteSize), 0)
    if kind == "files":
        rows = select(func.count(), size).select_from(elements)
        old = and_(elements.c.objectKey.is_not(None), elements.c.createdAt < before)
        taken, size_taken = (await connection.execute(rows.where(files_before(before)))).one()
        every_old = (await connection.execute(rows.where(old))).one()[0]
        return RetentionPlan(kind, before, taken, every_old - taken, int(size_taken))
    count = select(func.count()).select_from(threads)
    taken = (await connection.execute(count.where(threads_before(before)))).scalar_one()
    every_old = (await connection.execute(count.where(threads.c.updatedAt < before))).scalar_one()
    of_files = select(size).where(elements.c.threadId.in_(select(threads.c.id).where(threads_before(before))))
    return RetentionPlan(kind, before, taken, every_old - taken, int((await connection.execute(of_files)).scalar_one()))


async def next_threads(connection: AsyncConnection, before: str) -> Sequence[str]:
    """Some of those that go, the oldest first."""
    oldest = select(threads.c.id).where(threads_before(before)).order_by(threads.c.updatedAt, threads.c.id)
    return (await connection.execute(oldest.limit(AT_ONCE))).scalars().all()


async def remove_files(connection: AsyncConnection, before: str) -> tuple[int, list[str]]:
    """Delete the rows of some of the files that go, and queue the files; how many, and their keys."""
    some = (
        select(elements.c.id).where(files_before(before)).order_by(elements.c.createdAt, elements.c.id).limit(AT_ONCE)
    )
    ids = (await connection.execute(some)).scalars().all()
    keys = await queue_files(connection, elements.c.id.in_(ids))
    removed = await connection.execute(delete(elements).where(elements.c.id.in_(ids)))
    return int(removed.rowcount), keys


async def remove_payloads(connection: AsyncConnection, before: str) -> int:
    """Delete what was said in some of the calls; gives in how many."""
    some = select(llm_call_payloads.c.callId).where(payloads_before(before)).limit(PAYLOADS_AT_ONCE)
    return int(
        (await connection.execute(delete(llm_call_payloads).where(llm_call_payloads.c.callId.in_(some)))).rowcount
    )


async def remove_versions(connection: AsyncConnection, before: str) -> int:
    """Delete some of what messages were before they were edited or went; gives how many."""
    some = select(step_versions.c.id).where(versions_before(before)).limit(PAYLOADS_AT_ONCE)
    gone = delete(step_versions).where(step_versions.c.id.in_(some)).returning(step_versions.c.threadId)
    thread_ids = (await connection.execute(gone)).scalars().all()
    # An answer of which nobody knows any more what it said is not looked through.
    await feedback.mark_answers(connection, sorted(set(thread_ids)))
    return len(thread_ids)


def threads_before(before: str) -> ColumnElement[bool]:
    """Threads in which nothing happened since then, and which are not exempt."""
    return and_(
        threads.c.updatedAt < before, not_(_is_marked(threads.c.id)), threads.c.id.not_in(_needed_by_copies(before))
    )


def files_before(before: str) -> ColumnElement[bool]:
    """Elements with a file that were stored before then, in threads that are not exempt."""
    old = elements.c.objectKey.is_not(None), elements.c.createdAt < before
    # An adopted database has some that name a step alone.
    of_step = select(steps.c.threadId).where(steps.c.id == elements.c.forId).scalar_subquery()
    return and_(*old, not_(_is_marked(func.coalesce(elements.c.threadId, of_step))))


def payloads_before(before: str) -> ColumnElement[bool]:
    """What was said in calls and stored before then, but for those of threads that are exempt."""
    marked = (
        select(llm_calls.c.id)
        .join(thread_marks, thread_marks.c.threadId == llm_calls.c.threadId)
        .where(llm_calls.c.id == llm_call_payloads.c.callId)
    )
    return and_(llm_call_payloads.c.createdAt < before, not_(marked.exists()))


def versions_before(before: str) -> ColumnElement[bool]:
    """What messages were until a time before then, but for those in threads that are exempt."""
    return and_(step_versions.c.replacedAt < before, not_(_is_marked(step_versions.c.threadId)))


def _needed_by_copies(before: str) -> Select[Any]:
    """The ids of the originals of what is in use or marked, and of their originals."""
    copy, original = threads.alias("copy"), thread_origins.alias("original")
    needed = (
        select(thread_origins.c.originalId.label("id"))
        .join(copy, copy.c.id == thread_origins.c.threadId)
        .where(or_(copy.c.updatedAt >= before, _is_marked(thread_origins.c.threadId)))
        .cte("needed", recursive=True)
    )
    needed = needed.union(select(original.c.originalId).join(needed, needed.c.id == original.c.threadId))
    return select(needed.c.id)


def _is_marked(thread_id: ColumnElement[str]) -> ColumnElement[bool]:
    marked = select(thread_marks.c.threadId).where(thread_marks.c.threadId == thread_id)
    return marked.correlate_except(thread_marks).exists()
