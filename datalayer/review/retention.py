"""Retention: deletes threads, files, payloads and audit entries that are older than the operator's times.

Payloads are the texts of calls to models and the earlier versions of messages. Exempt are threads that are pinned or
flagged, with everything in them, and the originals of copies (or copies of copies) that are pinned, flagged or still in
use, because a copy is deleted with its original. Temporary threads are deleted at their time in any case, because their
owners were told so. A plan counts what would be deleted and changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_text, clean_time, utc_now
from datalayer.errors import InvalidRecord
from datalayer.history import feedback
from datalayer.history.deletion import Removal, remove_threads
from datalayer.history.file_outbox import queue_files
from datalayer.records.retention import RetentionClass, RetentionPlan, RetentionReceipt
from datalayer.review import access, audit, payloads
from datalayer.review.base import ReviewStore, nothing
from datalayer.schema.chat import elements, steps, threads
from datalayer.schema.review import step_versions, thread_marks, thread_origins
from datalayer.schema.usage import llm_call_payloads

AT_ONCE = 50
PAYLOADS_AT_ONCE = 1_000
CLASSES: tuple[RetentionClass, ...] = ("payloads", "files", "threads", "temporary", "audit")
"""In the order in which retention is applied to them."""


class Retention(ReviewStore):
    """Methods of retention. They raise Forbidden if the acting user is no admin."""

    async def plan_retention(self, before: Mapping[RetentionClass, str]) -> list[RetentionPlan]:
        """Count what `apply_retention` would delete, per class. Changes nothing. For example:

            plans = await layer.plan_retention({"threads": "2025-01-01", "payloads": "2026-01-01"})

        Args:
            before: for each class ("payloads", "files", "threads", "temporary", "audit") the time, ISO 8601. Deleted
                are payloads, files and entries stored before it, threads last changed before it, and temporary
                threads that expire before it.

        Raises:
            Forbidden: the acting user is no admin.
            InvalidRecord: a class is unknown, or a time is missing or not valid.
        """
        wanted = _times(before)

        async def plan(connection: AsyncConnection, _: access.Reviewer) -> list[RetentionPlan]:
            return [await plan_of(connection, kind, moment) for kind, moment in wanted.items()]

        await self._writer.settled()
        return await self._read_as_reviewer(plan, access.ADMINS)

    async def apply_retention(self, before: Mapping[RetentionClass, str]) -> list[RetentionReceipt]:
        """Delete permanently what `plan_retention` counts; returns a receipt per class. The audit gets a row for each.

        Raises:
            Forbidden: the acting user is no admin.
            InvalidRecord: a class is unknown, or a time is missing or not valid.
        """
        wanted = _times(before)
        await self._writer.settled()
        return [await self._retain(kind, moment) for kind, moment in wanted.items()]

    async def _retain(self, kind: RetentionClass, before: str) -> RetentionReceipt:
        rows: dict[str, int] = {}
        messages = 0
        thread_ids: list[str] = []
        keys: list[str] = []
        if kind == "payloads":
            await self._read_as_reviewer(nothing, access.ADMINS)
            if count := await payloads.remove_months(self.database, before):
                rows |= {llm_call_payloads.name: count, step_versions.name: 0}

        async def some(connection: AsyncConnection, _: access.Reviewer) -> Removal | None:
            return await _delete_some(connection, kind, before)

        while (removed := await self._write_as_reviewer(some, access.ADMINS)) is not None:
            for name, count in removed.rows.items():
                rows[name] = rows.get(name, 0) + count
            messages += removed.messages
            thread_ids += removed.thread_ids
            keys += removed.object_keys
        self.search_indexer.note(deleted=True)
        disposed = await self.file_deleter.delete(keys, None)

        async def note(connection: AsyncConnection, reviewer: access.Reviewer) -> str | None:
            forgotten = await audit.forget(connection, before, reviewer.identifier) if kind == "audit" else None
            if forgotten is not None:
                rows["audit_entries"] = forgotten
            details = {"class": kind, "before": before, "rows": dict(rows)}
            await audit.note(connection, "retention", reviewer.identifier, [(None, None)], details=details)
            return reviewer.identifier

        by = await self._write_as_reviewer(note, access.ADMINS)
        return RetentionReceipt(
            kind=kind,
            before=before,
            applied_at=utc_now(),
            applied_by=by,
            rows=rows,
            threads=tuple(sorted(thread_ids)),
            files=tuple(disposed.deleted),
            files_left=tuple(disposed.left),
            messages=messages,
        )


async def _delete_some(connection: AsyncConnection, kind: RetentionClass, before: str) -> Removal | None:
    """Delete a part of the expired records; None if there are none."""
    if kind in ("threads", "temporary"):
        ids = await (next_threads if kind == "threads" else next_temporary)(connection, before)
        is_expired = threads_before(before) if kind == "threads" else threads.c.expiresAt < before
        if not ids:
            return None
        # Who used, marked or kept one of them since it was found had it first.
        left = await _locked(connection, ids, is_expired)
        return await remove_threads(connection, threads.c.id.in_(left)) if left else Removal({})
    if kind == "files":
        count, keys = await remove_files(connection, before)
        return Removal({elements.name: count}, (), tuple(keys)) if count else None
    if kind == "payloads":
        rows = {
            llm_call_payloads.name: await payloads.remove_rows(connection, before, limit=PAYLOADS_AT_ONCE),
            step_versions.name: await remove_versions(connection, before),
        }
        return Removal(rows) if any(rows.values()) else None
    return None


def _times(before: Mapping[RetentionClass, str]) -> dict[RetentionClass, str]:
    if unknown := before.keys() - set(CLASSES):
        raise InvalidRecord(
            f"{clean_text(str(min(unknown)))[:60]!r} is not a retention class: use {', '.join(CLASSES)}"
        )
    times: dict[RetentionClass, str] = {}
    for kind in CLASSES:
        if kind in before:
            moment = clean_time(before[kind], "time of retention")
            if moment is None:
                raise InvalidRecord(f"`before` is missing for {kind}: give the time before which to delete")
            times[kind] = moment
    return times


async def plan_of(connection: AsyncConnection, kind: RetentionClass, before: str) -> RetentionPlan:
    """Count what retention of the class would delete."""
    if kind == "audit":
        return RetentionPlan(kind, before, *await audit.count_older(connection, before))
    if kind == "payloads":
        taken = every_old = 0
        for table, moment, goes in (
            (llm_call_payloads, llm_call_payloads.c.createdAt, payloads.payloads_before(before)),
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
    if kind == "temporary":
        expired = threads.c.expiresAt < before
        of_files = select(size).where(elements.c.threadId.in_(select(threads.c.id).where(expired)))
        taken = (await connection.execute(count.where(expired))).scalar_one()
        return RetentionPlan(kind, before, taken, 0, int((await connection.execute(of_files)).scalar_one()))
    taken = (await connection.execute(count.where(threads_before(before)))).scalar_one()
    every_old = (await connection.execute(count.where(threads.c.updatedAt < before))).scalar_one()
    of_files = select(size).where(elements.c.threadId.in_(select(threads.c.id).where(threads_before(before))))
    return RetentionPlan(kind, before, taken, every_old - taken, int((await connection.execute(of_files)).scalar_one()))


async def _locked(connection: AsyncConnection, ids: Sequence[str], is_expired: ColumnElement[bool]) -> Sequence[str]:
    """Lock these threads, in the order of `remove_threads`; gives those that have expired still."""
    these = select(threads.c.id).where(threads.c.id.in_(ids))
    await connection.execute(these.order_by(threads.c.id).with_for_update())
    return (await connection.execute(these.where(is_expired))).scalars().all()


async def next_threads(connection: AsyncConnection, before: str) -> Sequence[str]:
    """The ids of the next threads to delete, the oldest first."""
    oldest = select(threads.c.id).where(threads_before(before)).order_by(threads.c.updatedAt, threads.c.id)
    return (await connection.execute(oldest.limit(AT_ONCE))).scalars().all()


async def next_temporary(connection: AsyncConnection, before: str) -> Sequence[str]:
    """The ids of the next temporary threads that have expired, the first ones first."""
    first = select(threads.c.id).where(threads.c.expiresAt < before).order_by(threads.c.expiresAt, threads.c.id)
    return (await connection.execute(first.limit(AT_ONCE))).scalars().all()


async def remove_files(connection: AsyncConnection, before: str) -> tuple[int, list[str]]:
    """Delete the rows of the next files and queue the files for deletion; returns the number of rows, and the keys."""
    some = (
        select(elements.c.id).where(files_before(before)).order_by(elements.c.createdAt, elements.c.id).limit(AT_ONCE)
    )
    ids = (await connection.execute(some)).scalars().all()
    keys = await queue_files(connection, elements.c.id.in_(ids))
    removed = await connection.execute(delete(elements).where(elements.c.id.in_(ids)))
    return int(removed.rowcount), keys


async def remove_versions(connection: AsyncConnection, before: str) -> int:
    """Delete the next earlier versions of messages; returns how many."""
    some = select(step_versions.c.id).where(versions_before(before)).limit(PAYLOADS_AT_ONCE)
    expired = delete(step_versions).where(step_versions.c.id.in_(some)).returning(step_versions.c.threadId)
    thread_ids = (await connection.execute(expired)).scalars().all()
    # A removed answer without a stored version is no longer on the lists.
    await feedback.mark_answers(connection, sorted(set(thread_ids)))
    return len(thread_ids)


def threads_before(before: str) -> ColumnElement[bool]:
    """Threads that have not changed since then and are not exempt."""
    return and_(
        threads.c.updatedAt < before, not_(_is_marked(threads.c.id)), threads.c.id.not_in(_needed_by_copies(before))
    )


def files_before(before: str) -> ColumnElement[bool]:
    """Elements with a file that were stored before then, in threads that are not exempt."""
    old = elements.c.objectKey.is_not(None), elements.c.createdAt < before
    # Some elements of an adopted database name a step and no thread.
    of_step = select(steps.c.threadId).where(steps.c.id == elements.c.forId).scalar_subquery()
    return and_(*old, not_(_is_marked(func.coalesce(elements.c.threadId, of_step))))


def versions_before(before: str) -> ColumnElement[bool]:
    """Versions of messages that were replaced before then, except for those in marked threads."""
    return and_(step_versions.c.replacedAt < before, not_(_is_marked(step_versions.c.threadId)))


def _needed_by_copies(before: str) -> Select[Any]:
    """The ids of the originals of copies that are in use or marked, and of the originals of those."""
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
