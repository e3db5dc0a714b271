"""Frozen records of the audit: who did what with which thread, and why. Times and names as in `records/review.py`."""

from dataclasses import dataclass
from typing import Any, Literal

AuditAction = Literal[
    "read",
    "read_call",
    "read_file",
    "export",
    "take_over",
    "retention",
    "create_key",
    "revoke_key",
    "put_limit",
    "remove_limit",
    "add_price",
    "end_price",
    "add_user",
    "invite_user",
    "change_role",
    "disable_user",
    "enable_user",
    "change_password",
    "end_logins",
    "delete_user",
    "put_project",
    "delete_project",
    "reprice",
    "start_backup",
    "try_model",
    "change_model",
    "change_default_model",
]

OF_KEYS: tuple[AuditAction, ...] = ("create_key", "revoke_key")
"""What is done with a key of the owner, and with no thread."""

OF_ACCOUNTS: tuple[AuditAction, ...] = (
    *("add_user", "invite_user", "change_role", "disable_user", "enable_user"),
    *("change_password", "end_logins", "delete_user"),
)
"""What an admin does with the account of another user."""

OF_USERS = (*OF_KEYS, *OF_ACCOUNTS)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action on one thread, one key, one account, or limits and prices: the acting user, the time, and why.

    `actor` is None for the system. `owner_id` is the id of the owner of the thread, key or account. `details` contains
    ids and counts, and no content.
    """

    id: int
    at: str
    action: AuditAction
    actor: str | None
    thread_id: str | None
    owner_id: str | None
    purpose: str | None
    details: dict[str, Any] | None = None

    @property
    def export_id(self) -> str | None:
        """The id that all rows of one export have; None for other actions, and for exports without such an id."""
        found = (self.details or {}).get("export") if self.action == "export" else None
        return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page of the audit, newest first. `next_cursor` is the cursor of the next page; None on the last page."""

    entries: tuple[AuditEntry, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Look:
    """One line of the audit for an owner: an action on one thread, or one export of several threads of the owner.

    `entry` is the newest row of the audit. `count` is the number of the owner's threads; `thread_ids` are the first ten
    of them. `who_looked` with `entry.export_id` lists them all.
    """

    entry: AuditEntry
    count: int
    thread_ids: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class LookPage:
    """A page of lines of the audit, newest first. `next_cursor` is as in `AuditPage`."""

    looks: tuple[Look, ...]
    next_cursor: str | None
