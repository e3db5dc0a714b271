"""The list of users without SQLAlchemy, for a command that is done before SQLAlchemy would be imported.

Tests compare the statement with the compiled one of `history.users.list_all`, and the records with those of
`Accounts.list_users`, on both engines.
"""

import json
from typing import Any

from datalayer.records.chat import User

LIST_USERS = (
    "SELECT users.id AS id, users.identifier AS identifier, users.metadata AS metadata, "
    'users."createdAt" AS "createdAt", users.role AS role, users."disabledAt" AS "disabledAt" '
    "FROM users ORDER BY users.identifier"
)


def users_listed_directly(url: str) -> list[User] | None:
    """The result of `Accounts.list_users`, for a program without an event loop.

    Returns:
        None if the database cannot be read in this way. The caller then uses `Accounts`, which reports the reason.
    """
    try:
        return [
            User(str(id_), identifier, json.loads(metadata), created_at, role, disabled_at)
            for id_, identifier, metadata, created_at, role, disabled_at in _rows(url)
        ]
    except Exception:  # noqa: BLE001  `Accounts` reads again, and translates the error
        return None


def _rows(url: str) -> list[tuple[Any, ...]]:
    if url.startswith("sqlite:"):
        from datalayer.dialects import sqlite_direct  # noqa: PLC0415  only the driver that is used is imported

        return sqlite_direct.rows(url, LIST_USERS)
    import asyncio  # noqa: PLC0415

    from datalayer.dialects import postgresql_direct  # noqa: PLC0415

    return asyncio.run(postgresql_direct.rows(url, LIST_USERS))
