"""SQL of invitations: made, found by their secret, and ended."""

import hashlib
import secrets

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.records.people import Invitation
from datalayer.schema import people
from datalayer.schema.chat import users

LONGEST_SECRET = 100
_BYTES = 24
_table = people.invitations


def new_secret() -> str:
    """A secret of 192 random bits, for an address."""
    return secrets.token_urlsafe(_BYTES)


def hash_of(secret: str) -> str:
    """The hash by which an invitation is found. The secret is random, so a fast hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def put(connection: AsyncConnection, dialect: Dialect, invitation: Invitation, digest: str) -> None:
    """Store the invitation, in place of an earlier one of the user."""
    values = {"secretHash": digest, "createdAt": invitation.created_at, "expiresAt": invitation.expires_at}
    statement = dialect.insert(_table).values(userId=invitation.user_id, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=[_table.c.userId], set_=values))


async def find(connection: AsyncConnection, digest: str, now: str) -> Invitation | None:
    """The invitation of this secret that has not ended, of a user who is not disabled."""
    statement = (
        select(users.c.id, users.c.identifier, _table.c.createdAt, _table.c.expiresAt)
        .join_from(_table, users, users.c.id == _table.c.userId)
        .where(_table.c.secretHash == digest, _table.c.expiresAt > now, users.c.disabledAt.is_(None))
    )
    row = (await connection.execute(statement)).first()
    return Invitation(*row) if row else None


async def take(connection: AsyncConnection, digest: str) -> bool:
    """Delete the invitation of this secret; False if another request was faster."""
    return bool((await connection.execute(delete(_table).where(_table.c.secretHash == digest))).rowcount)


async def end(connection: AsyncConnection, user_id: str) -> None:
    """Delete the user's invitation, if there is one."""
    await connection.execute(delete(_table).where(_table.c.userId == user_id))
