"""Names of users are compared without case, and stored as they came.

The table `user_names` has a row for each name in the form in which names are compared (`cleaning.name_key`). An older
database may have several users whose names differ only in case. They stay: each is found by the exact name, and the
oldest of them also by every other spelling.
"""

import logging
from typing import Any

from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import name_key
from datalayer.dialects import Dialect
from datalayer.schema.chat import user_names, users

logger = logging.getLogger(__name__)

_AT_ONCE = 500
_MOST_LOGGED = 20


def by_name(statement: Select[Any], identifier: str) -> Select[Any]:
    """The statement on `users`, restricted to the user with this name; the exact name wins over another spelling."""
    exact = users.c.identifier == identifier
    holder = select(user_names.c.userId).where(user_names.c.key == name_key(identifier)).scalar_subquery()
    return statement.where(or_(exact, users.c.id == holder)).order_by(exact.desc()).limit(1)


async def stored_name(connection: AsyncConnection, identifier: str) -> str:
    """The name of this user as it is stored; the given one if there is no such user."""
    found = await connection.execute(by_name(select(users.c.identifier), identifier))
    return str(found.scalar() or identifier)


async def claim(connection: AsyncConnection, dialect: Dialect, user_id: str, identifier: str) -> bool:
    """Store that other spellings of the name mean this user; False if they mean another user already."""
    row = {"key": name_key(identifier), "userId": user_id}
    statement = dialect.insert(user_names).values(**row).on_conflict_do_nothing().returning(user_names.c.userId)
    return (await connection.execute(statement)).first() is not None


async def fill(connection: AsyncConnection) -> None:
    """Store the names of users that have no row yet, as after a copy of users by SQL. The oldest user of a name wins.

    Users whose names differ only in case are logged.
    """
    nameless = select(users.c.id, users.c.identifier).where(users.c.id.not_in(select(user_names.c.userId)))
    oldest_first = nameless.order_by(users.c.createdAt.is_(None), users.c.createdAt, users.c.identifier)
    rows = (await connection.execute(oldest_first)).all()
    taken = set((await connection.execute(select(user_names.c.key))).scalars()) if rows else set()
    new: list[dict[str, str]] = []
    for user_id, identifier in rows:
        if (key := name_key(identifier)) not in taken:
            taken.add(key)
            new.append({"key": key, "userId": user_id})
    for begin in range(0, len(new), _AT_ONCE):
        await connection.execute(user_names.insert(), new[begin : begin + _AT_ONCE])
    if len(new) < len(rows):
        for names in (await alike(connection))[:_MOST_LOGGED]:
            logger.warning("%s", words_about(names))


async def alike(connection: AsyncConnection) -> list[tuple[str, ...]]:
    """The names that differ only in case: for each such name its spellings, first that of the user found by others."""
    others = select(users.c.identifier).where(users.c.id.not_in(select(user_names.c.userId)))
    found: dict[str, list[str]] = {}
    for identifier in (await connection.execute(others.order_by(users.c.identifier))).scalars():
        found.setdefault(name_key(identifier), []).append(identifier)
    groups = []
    for key, spellings in found.items():
        holder = select(users.c.identifier).join(user_names, user_names.c.userId == users.c.id)
        first = (await connection.execute(holder.where(user_names.c.key == key))).scalar()
        groups.append((*([first] if first else []), *spellings))
    return [group for group in groups if len(group) > 1]


def words_about(names: tuple[str, ...]) -> str:
    """A sentence for the operator about users whose names differ only in case."""
    listed = ", ".join(map(repr, names))
    return (
        f"the names {listed} differ only in case: they stay different users, each with the exact name; "
        f"any other spelling means {names[0]!r}"
    )
