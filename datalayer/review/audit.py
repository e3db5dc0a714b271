"""The audit: which user did what with which thread, when and why.

Rows are only added: triggers of the database refuse changes. A row contains names and ids but no content of the thread,
and is kept when the thread or a user is deleted.
"""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Row, Text, case, cast, delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer import cursors
from datalayer.cleaning import clean_text, utc_now
from datalayer.errors import InvalidRecord
from datalayer.history import audit_rows
from datalayer.history.user_names import by_name, stored_name
from datalayer.records.audit import OF_USERS, AuditEntry, AuditPage, Look, LookPage
from datalayer.schema.chat import threads, users
from datalayer.schema.review import audit_entries, audit_retentions, thread_marks, thread_origins

LARGEST_PAGE = 200
LONGEST_PURPOSE = 2_000
MOST_THREADS_OF_LOOK = 10
note = audit_rows.note
# The id that all rows of one export have; None for other rows, and for exports before such ids were stored.
export_id = case((audit_entries.c.action == "export", audit_entries.c.details["export"].as_string()))
# Some threads of an adopted database name their owner by the identifier alone.
OWNER_ID = func.coalesce(
    threads.c.userId,
    select(users.c.id).where(users.c.identifier == threads.c.userIdentifier).correlate(threads).scalar_subquery(),
)


def looks_at(owner_id: str) -> ColumnElement[bool]:
    """The rows of an owner's threads; what was done with the owner's keys and account is left out."""
    return (audit_entries.c.ownerId == owner_id) & audit_entries.c.action.not_in(OF_USERS)


def clean_purpose(purpose: str | None, *, required: bool = False) -> str | None:
    """The purpose as it is stored.

    Raises:
        InvalidRecord: it is missing although it is required, or is longer than `LONGEST_PURPOSE` characters.
    """
    cleaned = clean_text(purpose or "").strip() or None
    if cleaned is None and required:
        raise InvalidRecord("a purpose is required")
    if cleaned is not None and len(cleaned) > LONGEST_PURPOSE:
        raise InvalidRecord(f"the purpose has {len(cleaned):,} characters: the maximum is {LONGEST_PURPOSE:,}")
    return cleaned


def export_details(form: str) -> dict[str, Any]:
    """The details of every row of one export: its form, and a new id, by which owners see it as one line."""
    return {"form": form, "export": str(uuid4())}


async def note_takeout(connection: AsyncConnection, identifier: str) -> None:
    """Add a row for each thread of this user: the operator, who has no name here, exports all of them."""
    user_id = by_name(select(users.c.id), identifier).scalar_subquery()
    stored = await stored_name(connection, identifier)
    theirs = or_(threads.c.userId == user_id, threads.c.userIdentifier == stored)
    rows = (await connection.execute(select(threads.c.id, OWNER_ID).where(theirs))).all()
    await note(connection, "export", None, [(row[0], row[1]) for row in rows], details=export_details("takeout"))


async def page(
    connection: AsyncConnection, of: str, conditions: Sequence[ColumnElement[bool]], *, cursor: str | None, limit: int
) -> AuditPage:
    """The rows after the cursor of the list `of`, newest first.

    Raises:
        InvalidRecord: the limit is below 1, or the cursor is not valid.
    """
    if limit < 1:
        raise InvalidRecord(f"a page of {limit} entries is not valid: give at least 1")
    size = min(limit, LARGEST_PAGE)
    statement = select(audit_entries).where(*conditions).order_by(audit_entries.c.id.desc()).limit(size + 1)
    if cursor is not None:
        statement = statement.where(audit_entries.c.id < cursors.decode(cursor, of, cursors.number)[0])
    rows = (await connection.execute(statement)).all()
    entries = tuple(map(_entry, rows[:size]))
    return AuditPage(entries, cursors.encode(of, str(entries[-1].id)) if len(rows) > size else None)


async def looks(connection: AsyncConnection, owner_id: str, *, cursor: str | None, limit: int) -> LookPage:
    """The rows of an owner after the cursor, newest first, with one line for all rows of an export.

    A line stands where its newest row stands, so that no page repeats or splits an export. The database groups all rows
    of the owner for each page.

    Raises:
        InvalidRecord: the limit is below 1, or the cursor is not valid.
    """
    if limit < 1:
        raise InvalidRecord(f"a page of {limit} entries is not valid: give at least 1")
    size, newest = min(limit, LARGEST_PAGE), func.max(audit_entries.c.id)
    group = func.coalesce(export_id, cast(audit_entries.c.id, Text))
    grouped = select(newest, func.count()).where(looks_at(owner_id)).group_by(group)
    if cursor is not None:
        grouped = grouped.having(newest < cursors.decode(cursor, "looks", cursors.number)[0])
    found = (await connection.execute(grouped.order_by(newest.desc()).limit(size + 1))).all()
    counts = {row[0]: row[1] for row in found[:size]}
    rows = select(audit_entries).where(audit_entries.c.id.in_(counts)).order_by(audit_entries.c.id.desc())
    entries = [_entry(row) for row in await connection.execute(rows)]
    exports = [one.export_id for one in entries if counts[one.id] > 1 and one.export_id]
    threads_of = await _threads_of(connection, owner_id, exports) if exports else {}
    lines = tuple(Look(one, counts[one.id], threads_of.get(one.export_id or "", (one.thread_id,))) for one in entries)
    return LookPage(lines, cursors.encode("looks", str(entries[-1].id)) if len(found) > size else None)


async def _threads_of(
    connection: AsyncConnection, owner_id: str, exports: Sequence[str]
) -> dict[str, tuple[str | None, ...]]:
    """The first threads of this owner in each of these exports, at most `MOST_THREADS_OF_LOOK` each."""
    order = func.row_number().over(partition_by=export_id, order_by=audit_entries.c.id)
    numbered = (
        select(export_id.label("export"), audit_entries.c.subjectId, order.label("number"))
        .where(audit_entries.c.ownerId == owner_id, export_id.in_(exports))
        .subquery()
    )
    some = select(numbered).where(numbered.c.number <= MOST_THREADS_OF_LOOK).order_by(numbered.c.number)
    found: dict[str, tuple[str | None, ...]] = {}
    for row in await connection.execute(some):
        found[row.export] = (*found.get(row.export, ()), row.subjectId)
    return found


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        row.id, row.at, row.action, row.actor, row.subjectId, row.ownerId, row.purpose, details=row.details
    )


async def has_read(connection: AsyncConnection, actor: str | None, thread_id: str, since: str) -> bool:
    """Whether the actor has opened the thread for review since then."""
    who = audit_entries.c.actor.is_(None) if actor is None else audit_entries.c.actor == actor
    read = audit_entries.c.action == "read", audit_entries.c.at >= since
    found = select(audit_entries.c.id).where(audit_entries.c.subjectId == thread_id, who, *read).limit(1)
    return (await connection.execute(found)).first() is not None


def older_than(before: str) -> ColumnElement[bool]:
    """The rows that retention deletes: those before this time, except for threads that are pinned or flagged."""
    marked = select(thread_marks.c.threadId).where(thread_marks.c.threadId == audit_entries.c.subjectId).exists()
    return (audit_entries.c.at < before) & ~marked


async def count_older(connection: AsyncConnection, before: str) -> tuple[int, int]:
    """How many rows retention would delete, and how many of that age it would keep."""
    every = (await connection.execute(select(func.count()).where(audit_entries.c.at < before))).scalar_one()
    taken = (await connection.execute(select(func.count()).where(older_than(before)))).scalar_one()
    return taken, every - taken


async def forget(connection: AsyncConnection, before: str, actor: str | None) -> int:
    """Delete old rows, after a row of `audit_retentions` permits it to the trigger; returns how many.

    Raises:
        InvalidRecord: the time is in the future.
    """
    if before > (now := utc_now()):
        raise InvalidRecord(f"the audit cannot be deleted up to {before}: the time is in the future")
    await connection.execute(insert(audit_retentions).values(olderThan=before, at=now, actor=actor))
    return int((await connection.execute(delete(audit_entries).where(older_than(before)))).rowcount)


async def owner_of(connection: AsyncConnection, thread_id: str) -> tuple[bool, str | None]:
    """Whether the thread exists, and the id of its owner."""
    found = (await connection.execute(select(OWNER_ID).where(threads.c.id == thread_id))).first()
    return (True, found[0]) if found else (False, None)


async def subjects_of(
    connection: AsyncConnection, thread_id: str, reader_id: str | None
) -> list[tuple[str | None, str | None]]:
    """The threads that are read with an existing thread, as pairs of ids (of the thread and of its owner).

    They are the thread and, for a copy, its originals, except for the reader's own. For a thread of the reader the list
    is empty: what a copy contains they read when they made it.
    """
    found: list[tuple[str | None, str | None]] = []
    at: str | None = thread_id
    while at is not None:
        _, owner_id = await owner_of(connection, at)
        is_own = owner_id is not None and owner_id == reader_id
        if is_own and at == thread_id:
            return []
        if not is_own:
            found.append((at, owner_id))
        origin = select(thread_origins.c.originalId).where(thread_origins.c.threadId == at)
        at = (await connection.execute(origin)).scalar()
    return found
