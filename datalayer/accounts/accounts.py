"""Accounts: users who log in with a password, for the command line and the login page."""

import uuid
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.accounts import invitations
from datalayer.accounts.logins import end_logins_of
from datalayer.cleaning import clean_json, clean_text, known_id, utc_now
from datalayer.conditions import Condition
from datalayer.errors import InvalidRecord, NotFound
from datalayer.history import user_names, users
from datalayer.history.audit_rows import note
from datalayer.history.user_names import stored_name
from datalayer.ownership import Actor, recorded
from datalayer.records.audit import AuditAction
from datalayer.records.chat import ROLES, Account, User
from datalayer.store import DataStore
from datalayer.writes.repeats import conditional, repeatable


class Accounts(DataStore):
    """Users with password hashes, roles, and whether they are disabled."""

    async def get_account(self, identifier: str) -> Account | None:
        """The user with the password hash, or None. The exact name wins; otherwise case does not matter."""
        return await self.database.query(lambda connection: users.account(connection, clean_text(identifier)))

    async def add_account(self, identifier: str, password_hash: str, role: str = "user", *, by: Actor = None) -> User:
        """Create a user who logs in with a password.

        Args:
            identifier, password_hash, role: of the user.
            by: for a row in the audit, the admin in whose name it is done, or SYSTEM for the command line; None adds no
                row.

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
            await note_account(connection, "add_user", by, record.id, role=role)
            return record

        async def is_added(connection: AsyncConnection) -> bool:
            return bool(await users.names(connection, [record.id]))

        added: User = await self._writer.submit(repeatable(add, is_added))
        return added

    async def set_password(self, identifier: str, password_hash: str, *, by: Actor = None) -> None:
        """Change the password and end all logins of the user; an open invitation ends too. `by` is as of `add_account`.

        Raises:
            NotFound: the user does not exist.
        """
        await self.change_account(identifier, password_hash=password_hash, by=by)

    async def set_disabled(self, identifier: str, disabled: bool, *, by: Actor = None) -> None:
        """Disable or enable the user. `by` is as of `add_account`.

        Raises:
            InvalidRecord: `by` is given, and the user is the only admin.
            NotFound: the user does not exist.
        """
        await self.change_account(identifier, disabled=disabled, by=by)

    async def set_role(self, identifier: str, role: str, *, by: Actor = None) -> None:
        """Give the user a role. It takes effect with the next lookup of the user. `by` is as of `add_account`.

        Raises:
            InvalidRecord: the role is not one of `ROLES`, or the user is the only admin and would no longer be one.
            NotFound: the user does not exist.
        """
        await self.change_account(identifier, role=role, by=by)

    async def change_account(
        self,
        identifier: str,
        *,
        role: str | None = None,
        disabled: bool | None = None,
        password_hash: str | None = None,
        metadata: dict[str, Any] | None = None,
        by: Actor = None,
        only_if: Condition[User] | None = None,
    ) -> None:
        """Change what is given, all in one transaction, as `set_role`, `set_disabled` and `set_password` do.

        Args:
            identifier: of the user.
            role, disabled, password_hash: None changes nothing.
            metadata: merged, as by `create_user`.
            by: as of `add_account`.
            only_if: what the stored user must be like, in the same transaction.

        Raises:
            RecordChanged: it is not.
            InvalidRecord, NotFound: as of these methods.
        """
        if role is not None and role not in ROLES:
            raise InvalidRecord(f"the role must be one of {', '.join(ROLES)}")
        name, now = clean_text(identifier), utc_now()

        async def change(connection: AsyncConnection) -> None:
            await users.demand(connection, name, only_if)
            if role is not None:
                if role != "admin":
                    await demand_other_admin(connection, name)
                user_id = await users.set_role(connection, name, role)
                await note_account(connection, "change_role", by, user_id, role=role)
            if disabled is not None:
                if disabled and by is not None:
                    await demand_other_admin(connection, name)
                user_id = await users.set_disabled(connection, name, now if disabled else None)
                if disabled:
                    await invitations.end(connection, user_id)
                await note_account(connection, "disable_user" if disabled else "enable_user", by, user_id)
            if password_hash is not None:
                await self._put_password(connection, name, password_hash, now, by)
            if metadata is not None:
                merged = replace(await existing_user(connection, name), metadata=clean_json(metadata))
                await users.upsert(connection, self.database.dialect, merged)

        async def read(connection: AsyncConnection) -> Account | None:
            return await users.account(connection, name)

        await self._writer.submit(conditional(change, read))

    async def _put_password(
        self, connection: AsyncConnection, name: str, password_hash: str, now: str, by: Actor
    ) -> None:
        found = await existing_user(connection, name)
        await users.set_password(connection, self.database.dialect, found.id, password_hash, now)
        await end_logins_of(connection, found.id, now)
        await invitations.end(connection, found.id)
        await note_account(connection, "change_password", by, found.id)

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


async def existing_user(connection: AsyncConnection, identifier: str) -> User:
    """Raises NotFound: there is none."""
    found = await users.get(connection, identifier)
    if found is None:
        raise NotFound(f"there is no user {identifier!r}")
    return found


async def demand_other_admin(connection: AsyncConnection, identifier: str) -> None:
    """Require that an enabled admin is left without this user. The admins are locked until the transaction ends, unless
    the user is none of them.

    Raises:
        InvalidRecord: the user is the only one.
    """
    stored = await stored_name(connection, identifier)
    if stored in await users.admins(connection) and await users.admins(connection, lock=True) == [stored]:
        raise InvalidRecord(f"nothing was changed for {identifier!r}, the only admin: make another user an admin first")


async def note_account(
    connection: AsyncConnection, action: AuditAction, by: Actor, user_id: str | None, **details: Any
) -> None:
    """Add a row to the audit for what an admin or the system does with this account; none if `by` is None."""
    if by is not None:
        await note(connection, action, recorded(by)[0], [(None, user_id)], details=details or None)


def new_user(identifier: str, metadata: dict[str, Any]) -> User:
    """A user record with a new id, not stored yet."""
    return User(str(uuid.uuid4()), clean_text(identifier), metadata, utc_now())
