"""Who may review: the one place in the library that asks for a role, in the transaction of a write and before a read.

The system may do what needs no name. The account's role counts, not what a page or a cookie says of it.
"""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.errors import Forbidden, InvalidRecord
from datalayer.ownership import SYSTEM, Actor
from datalayer.schema.chat import users

REVIEWERS = ("reviewer", "admin")
ADMINS = ("admin",)


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Who reviews: a user, or the system itself, which has neither id nor identifier."""

    id: str | None
    identifier: str | None

    @property
    def named(self) -> tuple[str, str]:
        """Id and identifier.

        Raises:
            Forbidden: it is the system, and this is said in somebody's name.
        """
        if self.id is None or self.identifier is None:
            raise Forbidden("this is done in a reviewer's name, and the system has none")
        return self.id, self.identifier


async def demand(connection: AsyncConnection, actor: Actor, roles: tuple[str, ...] = REVIEWERS) -> Reviewer:
    """The acting user, if they have one of the roles and are not disabled.

    Raises:
        Forbidden: they have not.
    """
    if actor is SYSTEM:
        return Reviewer(None, None)
    if isinstance(actor, str):
        chosen = users.c.identifier == actor, users.c.role.in_(roles), users.c.disabledAt.is_(None)
        found = (await connection.execute(select(users.c.id).where(*chosen))).scalar()
        if found is not None:
            return Reviewer(found, actor)
    raise Forbidden(f"this is for {' and '.join(roles)} accounts alone")


async def reviewer_id(connection: AsyncConnection, identifier: str) -> str:
    """The id of a reviewer who is named.

    Raises:
        InvalidRecord: there is none of this name.
    """
    chosen = users.c.identifier == identifier, users.c.role.in_(REVIEWERS), users.c.disabledAt.is_(None)
    found: str | None = (await connection.execute(select(users.c.id).where(*chosen))).scalar()
    if found is None:
        raise InvalidRecord(f"there is no reviewer {identifier!r}")
    return found
