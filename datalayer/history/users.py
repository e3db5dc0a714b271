"""Users and their password hashes."""

from collections.abc import Collection
from functools import cache
from typing import Any

from sqlalchemy import RowMapping, Select, case, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import name_key
from datalayer.conditions import Condition, demand_unchanged
from datalayer.database import Database
from datalayer.dialects import Dialect
from datalayer.errors import AlreadyExists, NotFound
from datalayer.history.user_names import by_given_name, by_name, name_values
from datalayer.ownership import Actor
from datalayer.records.chat import Account, User
from datalayer.schema.chat import credentials, users
from datalayer.schema.rows import columns, given, record_of

# In the order of the record's fields, so that a row is the arguments of a record.
_COLUMNS = columns(User, users)


async def upsert(connection: AsyncConnection, dialect: Dialect, user: User) -> User:
    """Store the user. An existing user keeps id, name and role, and the metadata is merged."""
    found = await get(connection, user.identifier)
    if found is None:
        if await _insert(connection, dialect, user):
            return user
        # Another process has stored the name meanwhile.
        found = await get(connection, user.identifier)
        assert found is not None
    key = name_key(found.identifier)
    # Chainlit's own layer, or an older replica, may have added the user without the key.
    is_free = ~select(users.c.id).where(users.c.nameKey == key).correlate(None).exists()
    changed = {
        "metadata": dialect.merge_json(users.c.metadata, {k: v for k, v in user.metadata.items() if v is not None}),
        "nameKey": func.coalesce(users.c.nameKey, case((is_free, key))),
    }
    statement = update(users).where(users.c.id == found.id).values(changed).returning(*_COLUMNS)
    return record_of(User, users, (await connection.execute(statement)).mappings().one())


async def _insert(connection: AsyncConnection, dialect: Dialect, user: User) -> bool:
    """Store a new user; False if the name is in use, in this spelling or another one."""
    values = given(user, users) | {"nameKey": name_key(user.identifier)}
    statement = dialect.insert(users).values(**values).on_conflict_do_nothing().returning(users.c.id)
    return (await connection.execute(statement)).first() is not None


async def get(connection: AsyncConnection, identifier: str) -> User | None:
    """The user with this name; case does not matter."""
    row = (await connection.execute(by_name(select(*_COLUMNS), identifier))).mappings().first()
    return record_of(User, users, row) if row else None


async def find(database: Database, identifier: str) -> User | None:
    """As `get`, in one round trip."""
    rows = await database.fetch(_by_name(), name_values(identifier))
    return User(*rows[0]) if rows else None


@cache
def _by_name() -> Select[Any]:
    return by_given_name(select(*_COLUMNS))


async def acting(connection: AsyncConnection, actor: Actor) -> User | None:
    """The acting user; None for the system, an anonymous visitor, and a deleted user."""
    return await get(connection, actor) if isinstance(actor, str) else None


async def list_all(connection: AsyncConnection) -> list[User]:
    rows = (await connection.execute(select(*_COLUMNS).order_by(users.c.identifier))).mappings()
    return [record_of(User, users, row) for row in rows]


async def names(connection: AsyncConnection, user_ids: Collection[str]) -> dict[str, str]:
    """The identifiers of these users, by id."""
    statement = select(users.c.id, users.c.identifier).where(users.c.id.in_(user_ids))
    return {row.id: row.identifier for row in await connection.execute(statement)}


async def account(connection: AsyncConnection, identifier: str) -> Account | None:
    row = (await connection.execute(by_name(accounts(), identifier))).mappings().first()
    return account_of(row) if row else None


def accounts() -> Select[Any]:
    """Every user with the hash of the password, for `account_of`."""
    return select(*_COLUMNS, users.c.loginsEndedAt, credentials.c.passwordHash, credentials.c.updatedAt).join_from(
        users, credentials, credentials.c.userId == users.c.id, isouter=True
    )


def account_of(row: RowMapping) -> Account:
    return Account(record_of(User, users, row), row["passwordHash"], row["updatedAt"], row["loginsEndedAt"])


async def add(connection: AsyncConnection, dialect: Dialect, user: User) -> User:
    """Store a new user.

    Raises:
        AlreadyExists: the identifier is in use, in this spelling or another one.
    """
    found = await get(connection, user.identifier)
    if found is None and await _insert(connection, dialect, user):
        return user
    known = f", as {found.identifier!r}" if found and found.identifier != user.identifier else ""
    raise AlreadyExists(f"the user {user.identifier!r} exists already{known}", field="identifier")


async def set_password(
    connection: AsyncConnection, dialect: Dialect, user_id: str, password_hash: str, now: str
) -> None:
    values: dict[str, Any] = {"passwordHash": password_hash, "updatedAt": now}
    await connection.execute(
        dialect.insert(credentials)
        .values(userId=user_id, **values)
        .on_conflict_do_update(index_elements=[credentials.c.userId], set_=values)
    )


async def demand(connection: AsyncConnection, identifier: str, only_if: Condition[User] | None) -> None:
    """Require that the user is as the condition wants it, and lock it.

    Raises:
        NotFound: there is no such user.
        RecordChanged: it is another.
    """
    if only_if is not None:
        await connection.execute(by_name(select(users.c.id), identifier).with_for_update())
        demand_unchanged(await get(connection, identifier), only_if, f"the user {identifier!r}")


async def set_disabled(connection: AsyncConnection, identifier: str, disabled_at: str | None) -> str:
    """Disable the user from this time on, or enable the user (None); gives the id.

    Raises:
        NotFound: the user does not exist.
    """
    return await _change(connection, identifier, disabledAt=disabled_at)


async def set_role(connection: AsyncConnection, identifier: str, role: str) -> str:
    """Give the user this role; gives the id.

    Raises:
        NotFound: the user does not exist.
    """
    return await _change(connection, identifier, role=role)


async def _change(connection: AsyncConnection, identifier: str, **values: str | None) -> str:
    found = await get(connection, identifier)
    if found is None:
        raise NotFound(f"there is no user {identifier!r}")
    await connection.execute(update(users).where(users.c.id == found.id).values(**values))
    return found.id


async def admins(connection: AsyncConnection, *, lock: bool = False) -> list[str]:
    """The identifiers of the users who are admins and not disabled.

    Args:
        lock: lock them until the transaction ends, so that two changes at once cannot leave none.
    """
    statement = select(users.c.identifier).where(users.c.role == "admin", users.c.disabledAt.is_(None))
    if lock:
        # Rows that name them, such as votes and threads, are stored meanwhile.
        statement = statement.with_for_update(key_share=True)
    return list((await connection.execute(statement.order_by(users.c.identifier))).scalars())


async def count_accounts(connection: AsyncConnection) -> int:
    """How many users have a password."""
    return (await connection.execute(select(func.count()).select_from(credentials))).scalar_one()
