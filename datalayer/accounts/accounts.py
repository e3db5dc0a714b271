"""Accounts: the users who log in with a password, as the command line and the login page need them."""

import uuid
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.accounts import logins
from datalayer.cleaning import clean_text, utc_now
from datalayer.errors import InvalidRecord, NotFound
from datalayer.history import users
from datalayer.records.chat import Account, User
from datalayer.store import DataStore

ROLES = ("user", "reviewer", "admin")


class Accounts(DataStore):
    """Users, their passwords' hashes, their roles, and whether they may come in."""

    async def get_account(self, identifier: str) -> Account | None:
        """The user together with the hash of the password."""
        return await self.database.query(lambda connection: users.account(connection, clean_text(identifier)))

    async def add_account(self, identifier: str, password_hash: str, role: str = "user") -> User:
        """Make a user who logs in with a password.

        Raises:
            AlreadyExists: there is a user of this identifier.
            InvalidRecord: the role is none of `ROLES`.
        """
        if role not in ROLES:
            raise InvalidRecord(f"the role must be one of {', '.join(ROLES)}")
        record = replace(new_user(identifier, {}), role=role)

        async def add(connection: AsyncConnection) -> User:
            await users.add(connection, self.database.dialect, record)
            await users.set_password(connection, self.database.dialect, record.id, password_hash, utc_now())
            return record

        added: User = await self._writer.submit(add)
        return added

    async def set_password(self, identifier: str, password_hash: str) -> None:
        """Change the password, which ends each login before; raises NotFound where there is no such user."""

        async def change(connection: AsyncConnection) -> None:
            found = await users.get(connection, clean_text(identifier))
            if found is None:
                raise NotFound(f"there is no user {clean_text(identifier)!r}")
            now = utc_now()
            await users.set_password(connection, self.database.dialect, found.id, password_hash, now)
            await logins.end(connection, logins.of_user(found.id), now)

        await self._writer.submit(change)

    async def set_disabled(self, identifier: str, disabled: bool) -> None:
        """Shut a user out, or let them in again; raises NotFound where there is no such user."""
        moment = utc_now() if disabled else None
        await self._writer.submit(lambda connection: users.set_disabled(connection, clean_text(identifier), moment))

    async def list_users(self) -> list[User]:
        """Every user, by identifier."""
        return await self.database.query(users.list_all)

    async def count_accounts(self) -> int:
        """How many users have a password."""
        return await self.database.query(users.count_accounts)


def new_user(identifier: str, metadata: dict[str, Any]) -> User:
    """A record with an id of its own, not stored yet."""
    return User(str(uuid.uuid4()), clean_text(identifier), metadata, utc_now())
