"""Role checks for reviewers and admins: in the transaction of each write, and before each read.

The role is the one in the account's row; a role in a cookie or on a page is ignored. The system passes every check, but
cannot act in a person's name.
"""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.errors import Forbidden, InvalidRecord
from datalayer.history.user_names import by_name
from datalayer.ownership import SYSTEM, Actor
from datalayer.schema.chat import users

REVIEWERS = ("reviewer", "admin")
ADMINS = ("admin",)


@dataclass(frozen=True, slots=True)
class Reviewer:
    """The acting reviewer: a user, or the system, which has neither id nor identifier."""

    id: str | None
    identifier: str | None

    @property
    def named(self) -> tuple[str, str]:
        """Id and identifier.

        Raises:
            Forbidden: the system acts, and the action needs a person.
        """
        if self.id is None or self.identifier is None:
            raise Forbidden("only a reviewer who is logged in can do this, not the system")
        return self.id, self.identifier


async def demand(connection: AsyncConnection, actor: Actor, roles: tuple[str, ...] = REVIEWERS) -> Reviewer:
    """The acting reviewer, if the account is enabled and has one of the roles.

    Raises:
        Forbidden: the actor is a visitor, a disabled user, or a user without the role.
    """
    if actor is SYSTEM:
        return Reviewer(None, None)
    if isinstance(actor, str):
        chosen = users.c.identifier == actor, users.c.role.in_(roles), users.c.disabledAt.is_(None)
        found = (await connection.execute(select(users.c.id).where(*chosen))).scalar()
        if found is not None:
            return Reviewer(found, actor)
    raise Forbidden(f"this requires the role {' or '.join(roles)}")


async def reviewer_id(connection: AsyncConnection, identifier: str) -> str:
    """The id of the reviewer with this identifier.

    Raises:
        InvalidRecord: no enabled account of this identifier has the role.
    """
    enabled = select(users.c.id).where(users.c.role.in_(REVIEWERS), users.c.disabledAt.is_(None))
    found: str | None = (await connection.execute(by_name(enabled, identifier))).scalar()
    if found is None:
        raise InvalidRecord(f"no reviewer has the name {identifier!r}", field="reviewer")
    return found
