"""SQL that reads assistants: the one of a chat by the fastest path, lists, versions, access and pictures."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.ownership import Actor, assistants_editable_by, assistants_usable_by, kind_of
from datalayer.records.assistants import Assistant, AssistantAccess, AssistantPicture, AssistantSettings
from datalayer.schema.assistants import assistant_pictures, assistant_users, assistant_versions, assistants
from datalayer.schema.chat import users

_SETTINGS = tuple(one.name for one in fields(AssistantSettings))
_TUPLES = ("stop", "opening_prompts", "tips")
_owners, _savers = users.alias("owners"), users.alias("savers")


def settings_as_json(settings: AssistantSettings) -> dict[str, Any]:
    """The settings as they are stored."""
    return asdict(settings)


def settings_of_json(stored: Mapping[str, Any]) -> AssistantSettings:
    """The stored settings. A field that an older version did not know has its default."""
    values = {name: stored[name] for name in _SETTINGS if name in stored}
    return AssistantSettings(**values | {name: tuple(values.get(name) or ()) for name in _TUPLES})


@cache
def _statement(kind: Actor) -> Select[Any]:
    """Assistants with one of their versions; the last two columns are whether the actor may use and edit them."""
    one, version = assistants.c, assistant_versions.c
    return (
        select(
            *(one.id, one.slug, one.version, one.access, one.role, one.createdAt, one.deletedAt),
            _owners.c.identifier,
            *(version.version, version.settings, version.picture, version.savedAt, version.restoredFrom),
            _savers.c.identifier,
            assistants_usable_by(kind),
            assistants_editable_by(kind),
        )
        .select_from(assistants)
        .join(assistant_versions, version.assistantId == one.id, isouter=True)
        .join(_owners, _owners.c.id == one.ownerId, isouter=True)
        .join(_savers, _savers.c.id == version.savedBy, isouter=True)
    )


@cache
def current_of_slug(kind: Actor) -> Select[Any]:
    """The newest version of the assistant of the parameter `slug`, which is kept (`Database.fetch`)."""
    wanted = bindparam("slug", required=True, type_=assistants.c.slug.type)
    # A deleted assistant has no version.
    is_newest = (assistant_versions.c.version == assistants.c.version) | assistant_versions.c.id.is_(None)
    return _statement(kind).where(assistants.c.slug == wanted, is_newest)


def parameters(actor: Actor, **others: str) -> dict[str, str]:
    """The parameters of the statements: the actor, if it is a user, and the others."""
    return {"actor": actor, **others} if isinstance(actor, str) else others


def read_row(row: Sequence[Any]) -> tuple[Assistant | None, bool]:
    """The assistant of a row, without the names of its users, and whether the actor may use it.

    The assistant is None if it was deleted.
    """
    (id_, slug, current, access, role, created_at, deleted_at, owner) = row[:8]
    (version, settings, picture, saved_at, restored_from, saved_by, may_use, may_edit) = row[8:]
    if deleted_at is not None or version is None:
        return None, False
    assistant = Assistant(
        id=str(id_),
        slug=slug,
        version=version,
        current_version=current,
        settings=settings_of_json(settings),
        access=AssistantAccess(access, role),
        owner=owner,
        picture=picture,
        saved_at=saved_at,
        saved_by=saved_by,
        restored_from=restored_from,
        created_at=created_at,
        deleted_at=deleted_at,
        may_edit=bool(may_edit),
    )
    return assistant, bool(may_use)


async def listed(connection: AsyncConnection, actor: Actor) -> list[Assistant]:
    """The assistants that the actor may use, by name, without the names of their users."""
    kind = kind_of(actor)
    statement = _statement(kind).where(
        assistants.c.deletedAt.is_(None),
        assistant_versions.c.version == assistants.c.version,
        assistants_usable_by(kind),
    )
    rows = (await connection.execute(statement, parameters(actor))).all()
    found = [one for one, _ in map(read_row, rows) if one is not None]
    return sorted(found, key=lambda one: (one.settings.name.casefold(), one.slug))


async def versions(connection: AsyncConnection, actor: Actor, slug: str, *, version: int | None) -> list[Assistant]:
    """All versions of an assistant, newest first, or the given one; those that the actor may not use are left out."""
    chosen: list[ColumnElement[bool]] = [assistants.c.slug == slug, assistants.c.deletedAt.is_(None)]
    if version is not None:
        chosen.append(assistant_versions.c.version == version)
    statement = _statement(kind_of(actor)).where(*chosen).order_by(assistant_versions.c.version.desc())
    rows = (await connection.execute(statement, parameters(actor))).all()
    return [one for one, may_use in map(read_row, rows) if one is not None and may_use]


async def named_users(connection: AsyncConnection, assistant_id: str) -> tuple[str, ...]:
    """The identifiers of the users that the assistant is for, sorted."""
    statement = (
        select(users.c.identifier)
        .join(assistant_users, assistant_users.c.userId == users.c.id)
        .where(assistant_users.c.assistantId == assistant_id)
        .order_by(users.c.identifier)
    )
    return tuple((await connection.execute(statement)).scalars())


async def picture(connection: AsyncConnection, actor: Actor, slug: str, sha256: str) -> AssistantPicture | None:
    """The picture with this SHA-256, if a version of the assistant has it and the actor may use the assistant."""
    shown = assistant_pictures.c
    statement = (
        select(shown.mediaType, shown.content)
        .join(assistant_versions, assistant_versions.c.picture == shown.sha256)
        .join(assistants, assistants.c.id == assistant_versions.c.assistantId)
        .where(shown.sha256 == sha256, assistants.c.slug == slug, assistants_usable_by(kind_of(actor)))
        .limit(1)
    )
    row = (await connection.execute(statement, parameters(actor))).first()
    return None if row is None else AssistantPicture(row.mediaType, base64.b64decode(row.content))
