"""Adds rows to the audit, for every feature. `review/audit.py` reads them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert
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
