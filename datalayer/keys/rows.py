"""SQL of API keys: store, find by the hash of the secret, list, revoke."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, bindparam, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_text
from datalayer.database import Database
from datalayer.errors import Forbidden, InvalidRecord, NotFound
from datalayer.history.users import get as user_of
from datalayer.ownership import Actor, keys_readable_by
from datalayer.records.chat import User
from datalayer.records.keys import ApiKey
from datalayer.schema.chat import users
from datalayer.schema.keys import api_keys, api_replies
from datalayer.schema.usage import projects

MOST_KEYS = 100
"""Of one user, without revoked ones."""
_keys = api_keys.c
# In the order of the record's fields, so that a row is the arguments of a record.
_COLUMNS = (
    *(_keys.id, _keys.name, _keys.prefix, _keys.userId, users.c.identifier, projects.c.slug, _keys.scopes),
    *(_keys.models, _keys.requestsPerMinute, _keys.tokensPerMinute, _keys.createdAt, _keys.expiresAt),
    *(_keys.lastUsedAt, _keys.revokedAt, users.c.role),
)


def _selected() -> Select[Any]:
    return (
        select(*_COLUMNS)
        .select_from(api_keys)
        .join(users, users.c.id == _keys.userId)
        .join(projects, projects.c.id == _keys.projectId, isouter=True)
    )


def _key_of(row: Sequence[Any]) -> ApiKey:
    key = ApiKey(*row)
    return replace(key, scopes=tuple(key.scopes), models=tuple(key.models))


@cache
def _valid_by_hash() -> Select[Any]:
    return _selected().where(
        _keys.secretHash == bindparam("digest", type_=Text),
        _keys.revokedAt.is_(None),
        or_(_keys.expiresAt.is_(None), _keys.expiresAt > bindparam("now", type_=Text)),
        users.c.disabledAt.is_(None),
    )


async def find_valid(database: Database, digest: str, now: str) -> ApiKey | None:
    """The key with this hash of its secret; None if it is revoked or expired, or its user is disabled."""
    rows = await database.fetch(_valid_by_hash(), {"digest": digest, "now": now})
    return _key_of(rows[0]) if rows else None


async def list_all(connection: AsyncConnection, actor: Actor, identifier: str | None) -> list[ApiKey]:
    """The keys that the actor may see, newest first: of this user, or of all."""
    chosen = [keys_readable_by(actor)]
    if identifier is not None:
        user = await user_of(connection, identifier)
        if user is None:
            return []
        chosen.append(_keys.userId == user.id)
    statement = _selected().where(*chosen).order_by(_keys.createdAt.desc(), _keys.id)
    return [_key_of(row) for row in await connection.execute(statement)]


async def get(connection: AsyncConnection, actor: Actor, key_id: str) -> ApiKey | None:
    """The key, if the actor may see it."""
    return await find(connection, keys_readable_by(actor) & (_keys.id == key_id))


async def find(connection: AsyncConnection, chosen: ColumnElement[bool]) -> ApiKey | None:
    row = (await connection.execute(_selected().where(chosen))).first()
    return None if row is None else _key_of(row)


async def owner(connection: AsyncConnection, identifier: str) -> User:
    """The user, who has room for another key.

    Raises:
        NotFound: there is no such user.
        InvalidRecord: the user has `MOST_KEYS` keys.
    """
    user = await user_of(connection, identifier)
    if user is None:
        raise NotFound(f"there is no user {identifier!r}")
    held = select(_keys.id).where(_keys.userId == user.id, _keys.revokedAt.is_(None)).limit(MOST_KEYS)
    if len((await connection.execute(held)).all()) >= MOST_KEYS:
        raise InvalidRecord(f"{user.identifier} has {MOST_KEYS} keys: revoke one that is not used any more")
    return user


async def project_id(connection: AsyncConnection, slug: str, user: User | None) -> str:
    """The id of the project with this slug.

    Args:
        user: who wants to use it, and has to be its owner or an admin; None for the system.

    Raises:
        NotFound: there is no such project.
        Forbidden: the project belongs to somebody else.
    """
    statement = select(projects.c.id, projects.c.ownerId).where(projects.c.slug == clean_text(slug))
    row = (await connection.execute(statement)).first()
    if row is None:
        raise NotFound(f"there is no project {clean_text(slug)!r}")
    if user is not None and user.role != "admin" and row.ownerId != user.id:
        raise Forbidden(f"the project {slug} belongs to someone else")
    return str(row.id)


async def add(connection: AsyncConnection, key: ApiKey, project: str | None, digest: str) -> None:
    """Store a new key; `project` is the id of its project."""
    await connection.execute(
        insert(api_keys).values(
            id=key.id,
            userId=key.user_id,
            name=key.name,
            prefix=key.prefix,
            secretHash=digest,
            projectId=project,
            scopes=list(key.scopes),
            models=list(key.models),
            requestsPerMinute=key.requests_per_minute,
            tokensPerMinute=key.tokens_per_minute,
            createdAt=key.created_at,
            expiresAt=key.expires_at,
        )
    )


async def rename(connection: AsyncConnection, actor: Actor, key_id: str, name: str) -> ApiKey:
    """Give a key that is not revoked another name.

    Raises:
        NotFound: there is none that the actor may see.
    """
    chosen = (_keys.id == key_id) & keys_readable_by(actor) & _keys.revokedAt.is_(None)
    await connection.execute(update(api_keys).where(chosen).values(name=name))
    key = await find(connection, chosen)
    if key is None:
        raise NotFound(f"there is no key {key_id}: list the keys to see their ids")
    return key


async def revoke(connection: AsyncConnection, actor: Actor, key_id: str, now: str) -> tuple[ApiKey, bool]:
    """Revoke the key, and forget its first answers; gives it, and whether it was not revoked before.

    Raises:
        NotFound: it does not exist, or belongs to somebody else.
    """
    mine = (_keys.id == key_id) & keys_readable_by(actor)
    changed = await connection.execute(update(api_keys).where(mine, _keys.revokedAt.is_(None)).values(revokedAt=now))
    key = await find(connection, mine)
    if key is None:
        raise NotFound(f"there is no key {key_id}: list the keys to see their ids")
    await connection.execute(delete(api_replies).where(api_replies.c.keyId == key_id))
    return key, changed.rowcount > 0


async def see(connection: AsyncConnection, key_id: str, now: str, before: str) -> None:
    """Store when the key was used, unless a use since `before` is stored."""
    is_old = or_(_keys.lastUsedAt.is_(None), _keys.lastUsedAt < before)
    await connection.execute(update(api_keys).where(_keys.id == key_id, is_old).values(lastUsedAt=now))
