"""Names of users are compared without case, and stored as they came.

`users.nameKey` has each name in the form in which names are compared (`cleaning.name_key`). An older database may have
several users whose names differ only in case. They stay: each is found by the exact name, and the oldest of them, which
alone has the key, also by every other spelling.
"""

import logging
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, bindparam, literal, literal_column, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_text, name_key
from datalayer.schema.chat import users

logger = logging.getLogger(__name__)

_AT_ONCE = 500
_MOST_LOGGED = 20


def by_name(statement: Select[Any], identifier: str) -> Select[Any]:
    """The statement on `users`, restricted to the user with this name; the exact name wins over another spelling."""
    name = clean_text(identifier)
    return _named(statement, literal(name, Text), literal(name_key(name), Text))


def by_given_name(statement: Select[Any]) -> Select[Any]:
    """As `by_name`, for a statement that is kept; its parameters are those of `name_values`."""
    return _named(statement, *(bindparam(name, type_=Text, required=True) for name in ("given_name", "given_key")))


def name_values(identifier: str) -> dict[str, str]:
    """The parameters of `by_given_name`."""
    name = clean_text(identifier)
    return {"given_name": name, "given_key": name_key(name)}


def _named(statement: Select[Any], name: ColumnElement[str], key: ColumnElement[str]) -> Select[Any]:
    exact = users.c.identifier == name
    return statement.where(or_(exact, users.c.nameKey == key)).order_by(exact.desc()).limit(literal_column("1"))


async def stored_name(connection: AsyncConnection, identifier: str) -> str:
    """The name of this user as it is stored; the given one if there is no such user."""
    found = await connection.execute(by_name(select(users.c.identifier), identifier))
    return str(found.scalar() or identifier)


async def fill(connection: AsyncConnection) -> None:
    """Store the keys of users that have none yet, as after a copy of users by SQL. The oldest user of a name gets it.

    Users whose names differ only in case are logged.
    """
    keyless = select(users.c.id, users.c.identifier).where(users.c.nameKey.is_(None))
    oldest_first = keyless.order_by(users.c.createdAt.is_(None), users.c.createdAt, users.c.identifier)
    rows = (await connection.execute(oldest_first)).all()
    if not rows:
        return
    taken = set((await connection.execute(select(users.c.nameKey).where(users.c.nameKey.is_not(None)))).scalars())
    new: list[dict[str, str]] = []
    for user_id, identifier in rows:
        if (key := name_key(identifier)) not in taken:
            taken.add(key)
            new.append({"its_id": user_id, "its_key": key})
    statement = update(users).where(users.c.id == bindparam("its_id")).values(nameKey=bindparam("its_key"))
    for begin in range(0, len(new), _AT_ONCE):
        await connection.execute(statement, new[begin : begin + _AT_ONCE])
    if len(new) < len(rows):
        for names in (await alike(connection))[:_MOST_LOGGED]:
            logger.warning("%s", words_about(names))


async def alike(connection: AsyncConnection) -> list[tuple[str, ...]]:
    """The names that differ only in case: for each such name its spellings, first that of the user found by others."""
    keyless = select(users.c.identifier).where(users.c.nameKey.is_(None)).order_by(users.c.identifier)
    found: dict[str, list[str]] = {}
    for identifier in (await connection.execute(keyless)).scalars():
        found.setdefault(name_key(identifier), []).append(identifier)
    groups = []
    for key, spellings in found.items():
        first = (await connection.execute(select(users.c.identifier).where(users.c.nameKey == key))).scalar()
        groups.append((*([first] if first else []), *spellings))
    return [group for group in groups if len(group) > 1]


def words_about(names: tuple[str, ...]) -> str:
    """A sentence for the operator about users whose names differ only in case."""
    listed = ", ".join(map(repr, names))
    return (
        f"the names {listed} differ only in case: they stay different users, each with the exact name; "
        f"any other spelling means {names[0]!r}"
    )
