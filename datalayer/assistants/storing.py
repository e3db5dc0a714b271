"""SQL that stores assistants: new ones, versions, access, pictures, and deletion."""

import base64
import hashlib
import uuid
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.assistants.checking import Problems
from datalayer.assistants.reading import parameters, settings_as_json
from datalayer.cleaning import utc_now
from datalayer.dialects import Dialect
from datalayer.errors import AlreadyExists, Forbidden, NotFound, VersionConflict
from datalayer.history.owned_assistants import delete_unused_pictures
from datalayer.history.user_names import by_name
from datalayer.ownership import SYSTEM, Actor, assistants_editable_by, kind_of
from datalayer.records.assistants import AssistantAccess, AssistantPicture, AssistantSettings
from datalayer.schema.assistants import assistant_pictures, assistant_users, assistant_versions, assistants
from datalayer.schema.chat import users


@dataclass(frozen=True, slots=True)
class Head:
    """What the row of an assistant says, locked for the rest of the transaction."""

    id: str
    slug: str
    version: int


async def demand_editable(connection: AsyncConnection, actor: Actor, slug: str) -> Head:
    """Lock the assistant, and require that the actor may change it.

    Raises:
        NotFound: there is no such assistant, or it was deleted.
        Forbidden: the actor may not change it.
    """
    one = assistants.c
    statement = select(one.id, one.slug, one.version, assistants_editable_by(kind_of(actor)))
    statement = statement.where(one.slug == slug, one.deletedAt.is_(None)).with_for_update(of=assistants)
    row = (await connection.execute(statement, parameters(actor))).first()
    if row is None:
        raise NotFound(f"there is no assistant {slug!r}")
    if not row[3]:
        raise Forbidden(f"only its owner and admins may change the assistant {slug!r}")
    return Head(row[0], row[1], row[2])


def demand_version(head: Head, expected: int | None) -> None:
    """Require that nobody has saved a newer version.

    Raises:
        VersionConflict: somebody has.
    """
    if expected is not None and expected != head.version:
        raise VersionConflict(
            f"the assistant {head.slug!r} was saved by someone else: its version is {head.version}, not {expected}; "
            "load it again and repeat the change",
            head.version,
        )


async def demand_admin(connection: AsyncConnection, actor: Actor) -> None:
    """Require the system or an admin.

    Raises:
        Forbidden: the actor is somebody else.
    """
    if actor is SYSTEM:
        return
    if isinstance(actor, str):
        chosen = users.c.identifier == actor, users.c.role == "admin", users.c.disabledAt.is_(None)
        if (await connection.execute(select(users.c.id).where(*chosen))).scalar() is not None:
            return
    raise Forbidden("only admins make assistants")


async def user_id(connection: AsyncConnection, identifier: str) -> str | None:
    found: str | None = (await connection.execute(by_name(select(users.c.id), identifier))).scalar()
    return found


async def acting_id(connection: AsyncConnection, actor: Actor) -> str | None:
    """The id of the acting user; None for the system."""
    if not isinstance(actor, str):
        return None
    found: str | None = (await connection.execute(select(users.c.id).where(users.c.identifier == actor))).scalar()
    return found


async def add(connection: AsyncConnection, dialect: Dialect, slug: str, owner_id: str | None) -> Head:
    """Store the row of a new assistant, without a version.

    Raises:
        AlreadyExists: the slug names another assistant, or named one that was deleted.
    """
    head = Head(str(uuid.uuid4()), slug, 0)
    statement = (
        dialect.insert(assistants)
        .values(id=head.id, slug=slug, ownerId=owner_id, access="users", version=0, createdAt=utc_now())
        .on_conflict_do_nothing(index_elements=[assistants.c.slug])
    )
    if not (await connection.execute(statement)).rowcount:
        raise AlreadyExists(f"the slug {slug!r} is in use, or was used by an assistant that was deleted", field="slug")
    return head


async def is_stored(connection: AsyncConnection, version_id: str) -> int | None:
    """The number of this version, if an earlier attempt to store it was committed."""
    statement = select(assistant_versions.c.version).where(assistant_versions.c.id == version_id)
    found: int | None = (await connection.execute(statement)).scalar()
    return found


async def add_version(
    connection: AsyncConnection,
    head: Head,
    settings: AssistantSettings,
    *,
    version_id: str,
    picture: str | None,
    saved_by: str | None,
    restored_from: int | None = None,
) -> int:
    """Store the next version and make it the current one; returns its number."""
    version = head.version + 1
    await connection.execute(
        insert(assistant_versions).values(
            id=version_id,
            assistantId=head.id,
            version=version,
            settings=settings_as_json(settings),
            picture=picture,
            savedAt=utc_now(),
            savedBy=saved_by,
            restoredFrom=restored_from,
        )
    )
    await connection.execute(update(assistants).where(assistants.c.id == head.id).values(version=version))
    return version


async def ids_of_users(connection: AsyncConnection, access: AssistantAccess, problems: Problems) -> list[str]:
    """The ids of the named users. Names of unknown users are added to the problems."""
    ids: dict[str, None] = {}
    for name in access.users:
        found = await user_id(connection, name)
        if found is None:
            problems.add("users", "unknown_user", name=name)
        else:
            ids[found] = None
    return list(ids)


async def set_access(connection: AsyncConnection, head: Head, access: AssistantAccess, problems: Problems) -> None:
    """Store who may use the assistant. Names of unknown users are added to the problems."""
    ids = await ids_of_users(connection, access, problems)
    values = {"access": access.kind, "role": access.role}
    await connection.execute(update(assistants).where(assistants.c.id == head.id).values(**values))
    await connection.execute(delete(assistant_users).where(assistant_users.c.assistantId == head.id))
    if ids:
        rows = [{"assistantId": head.id, "userId": one} for one in ids]
        await connection.execute(insert(assistant_users), rows)


async def set_owner(connection: AsyncConnection, head: Head, owner: str | None, problems: Problems) -> None:
    """Store the owner. An unknown user is added to the problems."""
    owner_id = None if owner is None else await user_id(connection, owner)
    if owner is not None and owner_id is None:
        problems.add("owner", "unknown_user", name=owner)
    await connection.execute(update(assistants).where(assistants.c.id == head.id).values(ownerId=owner_id))


async def put_picture(connection: AsyncConnection, dialect: Dialect, picture: AssistantPicture) -> str:
    """Store the picture unless it is there; returns its SHA-256."""
    sha256 = hashlib.sha256(picture.content).hexdigest()
    content = base64.b64encode(picture.content).decode()
    statement = dialect.insert(assistant_pictures).values(sha256=sha256, mediaType=picture.media_type, content=content)
    await connection.execute(statement.on_conflict_do_nothing(index_elements=[assistant_pictures.c.sha256]))
    return sha256


async def picture_of_version(connection: AsyncConnection, head: Head) -> str | None:
    """The SHA-256 of the picture of the current version."""
    chosen = assistant_versions.c.assistantId == head.id, assistant_versions.c.version == head.version
    found: str | None = (await connection.execute(select(assistant_versions.c.picture).where(*chosen))).scalar()
    return found


async def mark_deleted(connection: AsyncConnection, head: Head) -> None:
    """Delete the assistant's versions, users and unused pictures. Its row stays, so that its slug is never reused."""
    await connection.execute(delete(assistant_versions).where(assistant_versions.c.assistantId == head.id))
    await connection.execute(delete(assistant_users).where(assistant_users.c.assistantId == head.id))
    await connection.execute(delete_unused_pictures())
    values = {"deletedAt": utc_now(), "ownerId": None, "access": "users", "role": None}
    await connection.execute(update(assistants).where(assistants.c.id == head.id).values(**values))
