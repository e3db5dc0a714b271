"""Adds rows to the audit, for every feature. `review/audit.py` reads them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_now
from datalayer.records.audit import AuditAction
from datalayer.schema.review import audit_entries


async def note(
    connection: AsyncConnection,
    action: AuditAction,
    actor: str | None,
    subjects: Sequence[tuple[str | None, str | None]],
    *,
    purpose: str | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    """Add a row for each subject, which is a pair of ids: of a thread and of its owner."""
    row = {"at": utc_now(), "action": action, "actor": actor, "purpose": purpose, "details": details}
    rows = [row | {"subjectId": thread_id, "ownerId": owner_id} for thread_id, owner_id in subjects]
    if rows:
        await connection.execute(insert(audit_entries), rows)


async def is_noted(connection: AsyncConnection, action: AuditAction, actor: str, detail: str, value: str) -> bool:
    """Whether the actor has a row of this action with this detail."""
    same = audit_entries.c.details[detail].as_string() == value
    of_actor = audit_entries.c.actor == actor, audit_entries.c.action == action
    return (await connection.execute(select(audit_entries.c.id).where(*of_actor, same).limit(1))).first() is not None
