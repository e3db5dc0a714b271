"""Logins that were seen: a row for each, by the hash of its token, until the token expires by itself."""

from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_text
from datalayer.dialects import Dialect
from datalayer.history import users
from datalayer.records.chat import Account, Login
from datalayer.schema.chat import logins
from datalayer.schema.chat import users as user_table
from datalayer.schema.rows import columns, given, record_of

LONGEST_AGENT = 300
_PREFIX = "login_"
_COLUMNS = columns(Login, logins)
_PREFIXED = columns(Login, logins, _PREFIX)


async def account_and_login(
    connection: AsyncConnection, identifier: str, token_hash: str
) -> tuple[Account | None, Login | None]:
    """The user, and the login of this token if it was seen; in one query, because every request needs both."""
    theirs = and_(logins.c.userId == user_table.c.id, logins.c.tokenHash == token_hash)
    statement = users.accounts().add_columns(*_PREFIXED).join(logins, theirs, isouter=True)
    found = await connection.execute(statement.where(user_table.c.identifier == identifier))
    row = found.mappings().first()
    if row is None:
        return None, None
    login = record_of(Login, logins, row, _PREFIX) if row[f"{_PREFIX}id"] is not None else None
    return users.account_of(row), login


async def put(connection: AsyncConnection, dialect: Dialect, user_id: str, login: Login, now: str) -> None:
    """Store the login, or that it was seen; with an `ended_at`, that it is over. One that is over stays so.

    Those of the user that have expired go.
    """
    await connection.execute(delete(logins).where(logins.c.userId == user_id, logins.c.expiresAt <= now))
    changes: dict[str, Any] = {"seenAt": now}
    if login.ended_at is not None:
        changes["endedAt"] = func.coalesce(logins.c.endedAt, login.ended_at)
    values = given(login, logins) | {"id": str(uuid4()), "userId": user_id, "seenAt": now}
    if login.agent is not None:
        values["agent"] = clean_text(login.agent[:LONGEST_AGENT])
    statement = dialect.insert(logins).values(**values)
    await connection.execute(statement.on_conflict_do_update(index_elements=[logins.c.tokenHash], set_=changes))


def of_user(user_id: str) -> ColumnElement[bool]:
    """That a login is the user's."""
    return logins.c.userId == user_id


async def list_open(connection: AsyncConnection, user_id: str, now: str, limit: int) -> list[Login]:
    """Those that are good at this time, newest first."""
    statement = (
        select(*_COLUMNS)
        .where(of_user(user_id), logins.c.endedAt.is_(None), logins.c.expiresAt > now)
        .order_by(logins.c.startedAt.desc(), logins.c.id)
        .limit(limit)
    )
    return [record_of(Login, logins, row) for row in (await connection.execute(statement)).mappings()]


async def end(connection: AsyncConnection, chosen: ColumnElement[bool], now: str) -> int:
    """End those that the condition holds for; gives how many they are, with those that were over."""
    ended = {"endedAt": func.coalesce(logins.c.endedAt, now)}
    return int((await connection.execute(update(logins).where(chosen).values(ended))).rowcount)


async def end_all(connection: AsyncConnection, user_id: str, now: str) -> None:
    """End all of a user's, those too that were never seen."""
    await end(connection, of_user(user_id), now)
    await connection.execute(update(user_table).where(user_table.c.id == user_id).values(loginsEndedAt=now))
