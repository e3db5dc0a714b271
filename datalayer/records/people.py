"""Frozen records of users as admins see them. Times and ids as in `records/chat.py`."""

from dataclasses import dataclass
from decimal import Decimal

from datalayer.records.chat import User


@dataclass(frozen=True, slots=True)
class ListedUser:
    """A user with what an admin sees of the account.

    `seen_at` is the latest request of a recorded login. `threads` counts the user's threads. `cost` is in US dollars,
    of the calls since a time; None if none of them has a price. `invited_until` is the end of an open invitation.
    """

    user: User
    has_password: bool
    seen_at: str | None
    threads: int
    cost: Decimal | None
    invited_until: str | None


@dataclass(frozen=True, slots=True)
class ListedUserPage:
    """A page of users by identifier. `next_cursor` is the cursor of the next page; None on the last page."""

    rows: tuple[ListedUser, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation of a user to set a password, which ends at `expires_at`."""

    user_id: str
    identifier: str
    created_at: str
    expires_at: str
