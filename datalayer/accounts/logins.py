"""Logins: recorded when they are seen, checked with each request, listed and ended by their user.

A login is a signed token, and a token cannot be revoked. So each login has a row, found by the hash of its token, until
the token expires, and the application reads with each account whether the login has ended.
"""

from dataclasses import replace
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_text, clean_time, known_id, utc_now
from datalayer.dialects import Dialect
from datalayer.errors import Forbidden, InvalidRecord, NotFound
from datalayer.history.user_names import by_name
from datalayer.history.users import account_of, accounts, acting
from datalayer.ownership import Actor, acting_user, demand_system
from datalayer.records.chat import Account, Login
from datalayer.schema.chat import logins, users
from datalayer.schema.rows import columns, given, record_of
from datalayer.store import DataStore

MOST_LOGINS = 100
LONGEST_AGENT = 300
_PREFIX = "login_"
_COLUMNS = columns(Login, logins)
_PREFIXED = columns(Login, logins, _PREFIX)


class Logins(DataStore):
    """The system records logins; users list and end their own."""

    async def get_account_and_login(self, identifier: str, token_hash: str) -> tuple[Account | None, Login | None]:
        """The user with the password hash, and the login of this token if it was recorded."""
        name, digest = clean_text(identifier), clean_text(token_hash)
        return await self.database.query(lambda connection: _account_and_login(connection, name, digest))

    async def see_login(self, user_id: str, login: Login) -> None:
        """Record the login, or the time of this request; the user's expired logins are deleted.

        Raises:
            Forbidden: the caller is not the system.
            InvalidRecord: `started_at` or `expires_at` is not a valid time, or the user does not exist.
        """
        await self._put_login(user_id, replace(login, ended_at=None))

    async def log_out(self, user_id: str, login: Login) -> None:
        """End the login, recorded or not; raises what `see_login` raises."""
        await self._put_login(user_id, replace(login, ended_at=utc_now()))

    async def list_logins(self) -> list[Login]:
        """The acting user's valid logins, newest first, at most `MOST_LOGINS`."""
        actor = acting_user.get()

        async def find(connection: AsyncConnection) -> list[Login]:
            user = await acting(connection, actor)
            return await _list_open(connection, user.id, utc_now(), MOST_LOGINS) if user else []

        return await self.database.query(find)

    async def end_login(self, login_id: str) -> None:
        """End one of the acting user's logins.

        Raises:
            NotFound: the user has no such login.
            Forbidden: the caller is not a user.
        """
        actor, known = acting_user.get(), known_id(login_id)

        async def end(connection: AsyncConnection) -> None:
            chosen = logins.c.userId == await _own_id(connection, actor)
            if not known or not await _end(connection, and_(chosen, logins.c.id == known), utc_now()):
                raise NotFound(
                    f"the user has no login {clean_text(str(login_id))[:60]!r}: list the logins to see their ids"
                )

        await self._writer.submit(end)

    async def end_logins(self) -> None:
        """End every login of the acting user, including those that were never recorded.

        Raises:
            NotFound: the user does not exist any more.
            Forbidden: the caller is not a user.
        """
        actor = acting_user.get()

        async def end(connection: AsyncConnection) -> None:
            user_id, now = await _own_id(connection, actor), utc_now()
            await end_logins_of(connection, user_id, now)
            await connection.execute(update(users).where(users.c.id == user_id).values(loginsEndedAt=now))

        await self._writer.submit(end)

    async def _put_login(self, user_id: str, login: Login) -> None:
        demand_system(acting_user.get(), "the record of logins")
        started, expires = clean_time(login.started_at, "startedAt"), clean_time(login.expires_at, "expiresAt")
        if started is None or expires is None:
            raise InvalidRecord("a login needs started_at and expires_at")
        cleaned = replace(
            login, token_hash=clean_text(login.token_hash), started_at=started, expires_at=expires, seen_at=None
        )
        dialect = self.database.dialect
        await self._writer.submit(lambda connection: _put(connection, dialect, user_id, cleaned, utc_now()))


async def end_logins_of(connection: AsyncConnection, user_id: str, now: str) -> None:
    """End the user's recorded logins."""
    await _end(connection, logins.c.userId == user_id, now)


async def _account_and_login(
    connection: AsyncConnection, identifier: str, token_hash: str
) -> tuple[Account | None, Login | None]:
    """One query, because every request needs both."""
    theirs = and_(logins.c.userId == users.c.id, logins.c.tokenHash == token_hash)
    statement = accounts().add_columns(*_PREFIXED).join(logins, theirs, isouter=True)
    row = (await connection.execute(by_name(statement, identifier))).mappings().first()
    if row is None:
        return None, None
    login = record_of(Login, logins, row, _PREFIX) if row[f"{_PREFIX}id"] is not None else None
    return account_of(row), login


async def _put(connection: AsyncConnection, dialect: Dialect, user_id: str, login: Login, now: str) -> None:
    """Store the login or the time it was seen; with an `ended_at`, end it. A login that has ended stays ended."""
    await connection.execute(delete(logins).where(logins.c.userId == user_id, logins.c.expiresAt <= now))
    changes: dict[str, Any] = {"seenAt": now}
    if login.ended_at is not None:
        changes["endedAt"] = func.coalesce(logins.c.endedAt, login.ended_at)
    values = given(login, logins) | {"id": str(uuid4()), "userId": user_id, "seenAt": now}
    if login.agent is not None:
        values["agent"] = clean_text(login.agent[:LONGEST_AGENT])
    statement = dialect.insert(logins).values(**values)
    await connection.execute(statement.on_conflict_do_update(index_elements=[logins.c.tokenHash], set_=changes))


async def _list_open(connection: AsyncConnection, user_id: str, now: str, limit: int) -> list[Login]:
    statement = (
        select(*_COLUMNS)
        .where(logins.c.userId == user_id, logins.c.endedAt.is_(None), logins.c.expiresAt > now)
        .order_by(logins.c.startedAt.desc(), logins.c.id)
        .limit(limit)
    )
    return [record_of(Login, logins, row) for row in (await connection.execute(statement)).mappings()]


async def _end(connection: AsyncConnection, chosen: ColumnElement[bool], now: str) -> int:
    """End the chosen logins; gives their number, including those that had ended before."""
    ended = {"endedAt": func.coalesce(logins.c.endedAt, now)}
    return int((await connection.execute(update(logins).where(chosen).values(ended))).rowcount)


async def _own_id(connection: AsyncConnection, actor: Actor) -> str:
    if not isinstance(actor, str):
        raise Forbidden("only a logged-in user can end logins, and only their own")
    user = await acting(connection, actor)
    if user is None:
        raise NotFound(f"the user {actor!r} does not exist")
    return user.id
