"""Accounts: users who log in with a password, for the command line and the login page."""

import uuid
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.accounts.logins import end_logins_of
from datalayer.cleaning import clean_text, known_id, utc_now
from datalayer.errors import InvalidRecord, NotFound
from datalayer.history import user_names, users
from datalayer.records.chat import ROLES, Account, User
from datalayer.store import DataStore


class Accounts(DataStore):
    """Users with password hashes, roles, and whether they are disabled."""

    async def get_account(self, identifier: str) -> Account | None:
        """The user with the password hash, or None. The exact name wins; otherwise case does not matter."""
        return await self.database.query(lambda connection: users.account(connection, clean_text(identifier)))

    async def add_account(self, identifier: str, password_hash: str, role: str = "user") -> User:
        """Create a user who logs in with a password.

        Raises:
            AlreadyExists: a user with this identifier exists.
            InvalidRecord: the role is not one of `ROLES`.
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
        """Change the password and end all logins of the user.

        Raises:
            NotFound: the user does not exist.
        """

        async def change(connection: AsyncConnection) -> None:
            found = await users.get(connection, clean_text(identifier))
            if found is None:
                raise NotFound(f"there is no user {clean_text(identifier)!r}")
            now = utc_now()
            await users.set_password(connection, self.database.dialect, found.id, password_hash, now)
            await end_logins_of(connection, found.id, now)

        await self._writer.submit(change)

    async def set_disabled(self, identifier: str, disabled: bool) -> None:
        """Disable or enable the user.

        Raises:
            NotFound: the user does not exist.
        """
        moment = utc_now() if disabled else None
        await self._writer.submit(lambda connection: users.set_disabled(connection, clean_text(identifier), moment))

    async def set_role(self, identifier: str, role: str) -> None:
        """Give the user a role. It takes effect with the next lookup of the user.

        Raises:
            InvalidRecord: the role is not one of `ROLES`, or the user is the only admin and would no longer be one.
            NotFound: the user does not exist.
        """
        if role not in ROLES:
            raise InvalidRecord(f"the role must be one of {', '.join(ROLES)}")
        name = clean_text(identifier)

        async def change(connection: AsyncConnection) -> None:
            if role != "admin" and await users.admins(connection) == [name]:
                raise InvalidRecord(
                    f"cannot change the role of {name!r}, the only admin: make another user an admin first"
                )
            await users.set_role(connection, name, role)

        await self._writer.submit(change)

    async def admins(self) -> list[str]:
        """The identifiers of the users who are admins and not disabled, sorted."""
        return await self.database.query(users.admins)

    async def list_users(self) -> list[User]:
        """All users, sorted by identifier."""
        return await self.database.query(users.list_all)

    async def names_of_users(self, user_ids: Collection[str]) -> dict[str, str]:
        """The identifiers of these users, by id; those of deleted users are missing."""
        known = {one for user_id in user_ids if (one := known_id(user_id)) is not None}
        return await self.database.query(lambda connection: users.names(connection, known)) if known else {}

    async def names_alike(self) -> list[tuple[str, ...]]:
        """Names that differ only in case, as an older database may have them; the first of each is found by all
        spellings that nobody has."""
        return await self.database.query(user_names.alike)

    async def count_accounts(self) -> int:
        """The number of users with a password."""
        return await self.database.query(users.count_accounts)


def new_user(identifier: str, metadata: dict[str, Any]) -> User:
    """A user record with a new id, not stored yet."""
    return User(str(uuid.uuid4()), clean_text(identifier), metadata, utc_now())
