"""Logins as who lets people in records them, and as the person themself sees and ends them.

A login is a signed token, which nobody can take back. So it is written down when it is seen, and whoever lets people
in asks with each account whether the login is over.
"""

from dataclasses import replace

from sqlalchemy import and_
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.accounts import logins
from datalayer.cleaning import clean_text, clean_time, known_id, utc_now
from datalayer.errors import Forbidden, InvalidRecord, NotFound
from datalayer.history import users
from datalayer.ownership import Actor, acting_user, demand_system
from datalayer.records.chat import Account, Login
from datalayer.schema.chat import logins as login_table
from datalayer.store import DataStore

MOST_LOGINS = 100


class OwnLogins(DataStore):
    """The system records logins; a user lists and ends their own alone."""

    async def get_account_and_login(self, identifier: str, token_hash: str) -> tuple[Account | None, Login | None]:
        """The user together with the hash of the password, and the login of this token, if it was recorded."""
        name, digest = clean_text(identifier), clean_text(token_hash)
        return await self.database.query(lambda connection: logins.account_and_login(connection, name, digest))

    async def see_login(self, user_id: str, login: Login) -> None:
        """Record the login, or that it was seen now. What has expired of the user's is forgotten.

        Raises:
            Forbidden: it is not the system who says so.
            InvalidRecord: a time is none, or there is no such user.
        """
        await self._put_login(user_id, replace(login, ended_at=None))

    async def log_out(self, user_id: str, login: Login) -> None:
        """End the login, recorded or not; raises what `see_login` raises."""
        await self._put_login(user_id, replace(login, ended_at=utc_now()))

    async def list_logins(self) -> list[Login]:
        """The acting user's logins that are good, newest first; `MOST_LOGINS` at most."""
        actor = acting_user.get()

        async def find(connection: AsyncConnection) -> list[Login]:
            user = await users.acting(connection, actor)
            return await logins.list_open(connection, user.id, utc_now(), MOST_LOGINS) if user else []

        return await self.database.query(find)

    async def end_login(self, login_id: str) -> None:
        """End one of the acting user's logins.

        Raises:
            NotFound: they have no such login.
            Forbidden: it is no user who asks.
        """
        actor, known = acting_user.get(), known_id(login_id)

        async def end(connection: AsyncConnection) -> None:
            chosen = logins.of_user(await _own_id(connection, actor))
            if not known or not await logins.end(connection, and_(chosen, login_table.c.id == known), utc_now()):
                raise NotFound("there is no such login")

        await self._writer.submit(end)

    async def end_logins(self) -> None:
        """End every login of the acting user, those too that were never recorded.

        Raises:
            NotFound: there is no such user any more.
            Forbidden: it is no user who asks.
        """
        actor = acting_user.get()

        async def end(connection: AsyncConnection) -> None:
            await logins.end_all(connection, await _own_id(connection, actor), utc_now())

        await self._writer.submit(end)

    async def _put_login(self, user_id: str, login: Login) -> None:
        demand_system(acting_user.get(), "the record of logins")
        started, expires = clean_time(login.started_at, "startedAt"), clean_time(login.expires_at, "expiresAt")
        if started is None or expires is None:
            raise InvalidRecord("a login has a beginning and an end")
        cleaned = replace(
            login, token_hash=clean_text(login.token_hash), started_at=started, expires_at=expires, seen_at=None
        )
        dialect = self.database.dialect
        await self._writer.submit(lambda connection: logins.put(connection, dialect, user_id, cleaned, utc_now()))


async def _own_id(connection: AsyncConnection, actor: Actor) -> str:
    if not isinstance(actor, str):
        raise Forbidden("logins are ended by whose they are")
    user = await users.acting(connection, actor)
    if user is None:
        raise NotFound("there is no such user")
    return user.id
