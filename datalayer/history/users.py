"""Users and their password hashes."""

from typing import Any

from sqlalchemy import RowMapping, Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.errors import AlreadyExists, NotFound
from datalayer.ownership import Actor
from datalayer.records.chat import Account, User
from datalayer.schema.chat import credentials, users
from datalayer.schema.rows import columns, given, record_of

_COLUMNS = columns(User, users)


async def upsert(connection: AsyncConnection, dialect: Dialect, user: User) -> User:
    """Store the user. An existing user keeps id and role, and the metadata is merged."""
    merged = dialect.merge_json(users.c.metadata, {k: v for k, v in user.metadata.items() if v is not None})
    statement = (
        dialect.insert(users)
        .values(**given(user, users))
        .on_conflict_do_update(index_elements=[users.c.identifier], set_={"metadata": merged})
        .returning(*_COLUMNS)
    )
    row = (await connection.execute(statement)).mappings().one()
    return record_of(User, users, row)


async def get(connection: AsyncConnection, identifier: str) -> User | None:
    row = (await connection.execute(select(*_COLUMNS).where(users.c.identifier == identifier))).mappings().first()
    return record_of(User, users, row) if row else None


async def acting(connection: AsyncConnection, actor: Actor) -> User | None:
    """The acting user; None for the system, an anonymous visitor, and a deleted user."""
    return await get(connection, actor) if isinstance(actor, str) else None


async def list_all(connection: AsyncConnection) -> list[User]:
    rows = (await connection.execute(select(*_COLUMNS).order_by(users.c.identifier))).mappings()
    return [record_of(User, users, row) for row in rows]


async def account(connection: AsyncConnection, identifier: str) -> Account | None:
    row = (await connection.execute(accounts().where(users.c.identifier == identifier))).mappings().first()
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
        AlreadyExists: the identifier is in use.
    """
    statement = (
        dialect.insert(users)
        .values(**given(user, users))
        .on_conflict_do_nothing(index_elements=[users.c.identifier])
        .returning(users.c.id)
    )
    if (await connection.execute(statement)).first() is None:
        raise AlreadyExists(f"the user {user.identifier!r} exists already")
    return user


async def set_password(
    connection: AsyncConnection, dialect: Dialect, user_id: str, password_hash: str, now: str
) -> None:
    values: dict[str, Any] = {"passwordHash": password_hash, "updatedAt": now}
    await connection.execute(
        dialect.insert(credentials)
        .values(userId=user_id, **values)
        .on_conflict_do_update(index_elements=[credentials.c.userId], set_=values)
    )


async def set_disabled(connection: AsyncConnection, identifier: str, disabled_at: str | None) -> None:
    """Disable the user from this time on, or enable the user (None).

    Raises:
        NotFound: the user does not exist.
    """
    statement = update(users).where(users.c.identifier == identifier).values(disabledAt=disabled_at)
    if (await connection.execute(statement)).rowcount == 0:
        raise NotFound(f"there is no user {identifier!r}")


async def set_role(connection: AsyncConnection, identifier: str, role: str) -> None:
    """Give the user this role.

    Raises:
        NotFound: the user does not exist.
    """
    statement = update(users).where(users.c.identifier == identifier).values(role=role)
    if (await connection.execute(statement)).rowcount == 0:
        raise NotFound(f"there is no user {identifier!r}")


async def admins(connection: AsyncConnection) -> list[str]:
    """The identifiers of the users who are admins and not disabled."""
    statement = select(users.c.identifier).where(users.c.role == "admin", users.c.disabledAt.is_(None))
    return list((await connection.execute(statement.order_by(users.c.identifier))).scalars())


async def count_accounts(connection: AsyncConnection) -> int:
    """How many users have a password."""
    return (await connection.execute(select(func.count()).select_from(credentials))).scalar_one()
