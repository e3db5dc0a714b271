"""Public methods for admins' work on users: the list, invitations, and the end of another user's logins.

Only the system may call them; the application decides who is an admin.
"""

from dataclasses import replace

from sqlalchemy import ColumnElement, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer import cursors
from datalayer.accounts import invitations, listed_users
from datalayer.accounts.accounts import existing_user, note_account
from datalayer.accounts.logins import end_logins_of
from datalayer.cleaning import clean_text, known_id, name_key, utc_in, utc_now
from datalayer.errors import InvalidRecord, NotFound
from datalayer.history import users as user_rows
from datalayer.ownership import acting_user, demand_system
from datalayer.records.chat import Account
from datalayer.records.people import Invitation, ListedUser, ListedUserPage
from datalayer.schema.chat import users
from datalayer.store import DataStore
from datalayer.writes.repeats import conditional, repeatable

LARGEST_PAGE = 200


class People(DataStore):
    """Users as admins see and invite them. Every method raises Forbidden unless the system acts."""

    async def page_of_users(
        self, *, words: str = "", cursor: str | None = None, limit: int = 50, cost_since: str
    ) -> ListedUserPage:
        """A page of users by identifier, disabled ones too, in one statement.

        Args:
            words: only users whose names contain this text; case does not matter.
            cursor: `next_cursor` of the page before.
            limit: at most `LARGEST_PAGE`.
            cost_since: a UTC time; only calls since then count in `cost`.

        Raises:
            InvalidRecord: the limit is below 1, or the cursor is not valid.
        """
        demand_system(acting_user.get(), "the list of users")
        if limit < 1:
            raise InvalidRecord(f"a page of {limit} users is not valid: give at least 1")
        size, key = min(limit, LARGEST_PAGE), name_key(clean_text(words).strip())
        chosen: list[ColumnElement[bool]] = []
        if key:
            chosen.append(listed_users.named_like(key))
        if cursor is not None:
            (after,) = cursors.decode(cursor, "users", str)
            chosen.append(users.c.identifier > clean_text(after))
        found = await self.database.query(
            lambda connection: listed_users.page(
                connection, chosen, limit=size + 1, now=utc_now(), cost_since=cost_since
            )
        )
        rows = tuple(found[:size])
        return ListedUserPage(rows, cursors.encode("users", rows[-1].user.identifier) if len(found) > size else None)

    async def listed_user(self, user_id: str, *, cost_since: str) -> ListedUser | None:
        """The user with this id, as in the list; None if there is none."""
        demand_system(acting_user.get(), "the list of users")
        known = known_id(user_id)
        if known is None:
            return None
        found = await self.database.query(
            lambda connection: listed_users.page(
                connection, [users.c.id == known], limit=1, now=utc_now(), cost_since=cost_since
            )
        )
        return found[0] if found else None

    async def invite(self, identifier: str, *, seconds: float, by: str | None = None) -> tuple[Invitation, str]:
        """Make an invitation by which its holder sets the password of an existing user, once.

        It replaces an earlier one of the user. The secret is stored nowhere and cannot be read again.

        Args:
            identifier: of the user.
            seconds: how long it is valid.
            by: the admin in whose name it is done, for a row in the audit; None adds no row.

        Raises:
            NotFound: the user does not exist.
        """
        demand_system(acting_user.get(), "an invitation")
        name, secret = clean_text(identifier), invitations.new_secret()
        digest, dialect = invitations.hash_of(secret), self.database.dialect
        made = Invitation("", name, utc_now(), utc_in(seconds))

        async def add(connection: AsyncConnection) -> Invitation:
            user = await existing_user(connection, name)
            kept = replace(made, user_id=user.id, identifier=user.identifier)
            await invitations.put(connection, dialect, kept, digest)
            await note_account(connection, "invite_user", by, user.id)
            return kept

        async def is_added(connection: AsyncConnection) -> bool:
            return await invitations.find(connection, digest, made.created_at) is not None

        stored: Invitation = await self._writer.submit(repeatable(add, is_added))
        return stored, secret

    async def find_invitation(self, secret: str) -> Invitation | None:
        """The invitation of this secret; None if there is none, it has ended or is used, or its user is disabled."""
        demand_system(acting_user.get(), "the search for an invitation")
        if not secret or len(secret) > invitations.LONGEST_SECRET:
            return None
        digest = invitations.hash_of(clean_text(secret))
        return await self.database.query(lambda connection: invitations.find(connection, digest, utc_now()))

    async def accept_invitation(self, secret: str, password_hash: str) -> Invitation:
        """Set the password of the invited user, end all logins of the user, and end the invitation.

        Raises:
            NotFound: there is no such invitation, as `find_invitation` finds none.
        """
        demand_system(acting_user.get(), "an invitation")
        digest, dialect = invitations.hash_of(clean_text(secret)), self.database.dialect

        invited: list[Invitation] = []

        async def accept(connection: AsyncConnection) -> Invitation:
            now = utc_now()
            found = await invitations.find(connection, digest, now)
            if found is None or not await invitations.take(connection, digest):
                raise NotFound("the invitation does not exist: it has ended, or it is used")
            await user_rows.set_password(connection, dialect, found.user_id, password_hash, now)
            await end_logins_of(connection, found.user_id, now)
            invited.append(found)
            return found

        async def is_accepted(connection: AsyncConnection) -> bool:
            found = await user_rows.account(connection, invited[-1].identifier)
            return found is not None and found.password_hash == password_hash

        accepted: Invitation = await self._writer.submit(repeatable(accept, is_accepted))
        return accepted

    async def end_logins_of_user(self, identifier: str, *, by: str | None = None) -> None:
        """End every login of a user, including those that were never recorded. `by` is as of `invite`.

        Raises:
            NotFound: the user does not exist.
        """
        demand_system(acting_user.get(), "the end of another user's logins")
        name = clean_text(identifier)

        async def end(connection: AsyncConnection) -> None:
            user, now = await existing_user(connection, name), utc_now()
            await end_logins_of(connection, user.id, now)
            await connection.execute(update(users).where(users.c.id == user.id).values(loginsEndedAt=now))
            await note_account(connection, "end_logins", by, user.id)

        async def read(connection: AsyncConnection) -> Account | None:
            return await user_rows.account(connection, name)

        await self._writer.submit(conditional(end, read))
