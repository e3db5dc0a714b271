"""The audit: who did what with whose thread, when and why. Rows are added; that none is changed the database sees to.

A row names people and threads, and holds nothing of what is in a thread: it stays when thread and user are gone.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_text, utc_now
from datalayer.cursors import decode_number
from datalayer.errors import InvalidRecord
from datalayer.records.review import AuditAction, AuditEntry, AuditPage
from datalayer.schema.chat import threads, users
from datalayer.schema.review import audit_entries, audit_retentions, thread_marks, thread_origins

LARGEST_PAGE = 200
LONGEST_PURPOSE = 2_000
# Some threads of an adopted database name their owner by the identifier alone.
OWNER_ID = func.coalesce(
    threads.c.userId,
    select(users.c.id).where(users.c.identifier == threads.c.userIdentifier).correlate(threads).scalar_subquery(),
)


def clean_purpose(purpose: str | None, *, required: bool = False) -> str | None:
    """The purpose as it is kept.

    Raises:
        InvalidRecord: one is required and none is given, or it is longer than `LONGEST_PURPOSE` characters.
    """
    said = clean_text(purpose or "").strip() or None
    if said is None and required:
        raise InvalidRecord("a purpose must be given")
    if said is not None and len(said) > LONGEST_PURPOSE:
        raise InvalidRecord(f"a purpose has at most {LONGEST_PURPOSE} characters")
    return said


async def note(
    connection: AsyncConnection,
    action: AuditAction,
    actor: str | None,
    subjects: Sequence[tuple[str | None, str | None]],
    *,
    purpose: str | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    """Add a row for each subject: the ids of a thread and of its owner."""
    row = {"at": utc_now(), "action": action, "actor": actor, "purpose": purpose, "details": details}
    rows = [row | {"subjectId": thread_id, "ownerId": owner_id} for thread_id, owner_id in subjects]
    if rows:
        await connection.execute(insert(audit_entries), rows)


async def note_takeout(connection: AsyncConnection, identifier: str) -> None:
    """All threads of this user are given out by the operator, who has no name here."""
    user_id = select(users.c.id).where(users.c.identifier == identifier).scalar_subquery()
    theirs = or_(threads.c.userId == user_id, threads.c.userIdentifier == identifier)
    rows = (await connection.execute(select(threads.c.id, OWNER_ID).where(theirs))).all()
    await note(connection, "export", None, [(row[0], row[1]) for row in rows], details={"form": "takeout"})


async def page(
    connection: AsyncConnection, conditions: Sequence[ColumnElement[bool]], *, cursor: str | None, limit: int
) -> AuditPage:
    """The rows behind the cursor, newest first.

    Raises:
        InvalidRecord: the page is empty, or the cursor is none that a page gave.
    """
    if limit < 1:
        raise InvalidRecord("a page has at least one entry")
    size = min(limit, LARGEST_PAGE)
    statement = select(audit_entries).where(*conditions).order_by(audit_entries.c.id.desc()).limit(size + 1)
    if cursor is not None:
        statement = statement.where(audit_entries.c.id < decode_number(cursor))
    rows = (await connection.execute(statement)).all()
    entries = tuple(
        AuditEntry(row.id, row.at, row.action, row.actor, row.subjectId, row.ownerId, row.purpose, details=row.details)
        for row in rows[:size]
    )
    return AuditPage(entries, str(entries[-1].id) if len(rows) > size else None)


async def has_read(connection: AsyncConnection, actor: str | None, thread_id: str, since: str) -> bool:
    """Whether the actor has opened the thread since then."""
    who = audit_entries.c.actor.is_(None) if actor is None else audit_entries.c.actor == actor
    read = audit_entries.c.action == "read", audit_entries.c.at >= since
    found = select(audit_entries.c.id).where(audit_entries.c.subjectId == thread_id, who, *read).limit(1)
    return (await connection.execute(found)).first() is not None


def older_than(before: str) -> ColumnElement[bool]:
    """What retention takes of the audit: not what is about a thread that is pinned or flagged."""
    marked = select(thread_marks.c.threadId).where(thread_marks.c.threadId == audit_entries.c.subjectId).exists()
    return (audit_entries.c.at < before) & ~marked


async def count_older(connection: AsyncConnection, before: str) -> tuple[int, int]:
    """How many rows retention would take, and how many of that age it would leave."""
    every = (await connection.execute(select(func.count()).where(audit_entries.c.at < before))).scalar_one()
    taken = (await connection.execute(select(func.count()).where(older_than(before)))).scalar_one()
    return taken, every - taken


async def forget(connection: AsyncConnection, before: str, actor: str | None) -> int:
    """The one way in which rows go: that they may is said in a row that stays. Gives how many went."""
    if before > (now := utc_now()):
        raise InvalidRecord("the audit of times to come cannot be forgotten")
    await connection.execute(insert(audit_retentions).values(olderThan=before, at=now, actor=actor))
    return int((await connection.execute(delete(audit_entries).where(older_than(before)))).rowcount)


async def owner_of(connection: AsyncConnection, thread_id: str) -> tuple[bool, str | None]:
    """Whether the thread is there, and the id of its owner."""
    found = (await connection.execute(select(OWNER_ID).where(threads.c.id == thread_id))).first()
    return (True, found[0]) if found else (False, None)


async def subjects_of(
    connection: AsyncConnection, thread_id: str, reader_id: str | None
) -> list[tuple[str | None, str | None]]:
    """Whose words are read with a thread that is there: the ids of it and of its originals, and of the owners.

    None of them is the reader's own; and with a thread of one's own, a copy too, nothing is read that was not before.
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
