"""SQL of projects and their providers."""

from collections import defaultdict
from dataclasses import replace

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.conditions import Condition, demand_unchanged
from datalayer.dialects import Dialect
from datalayer.errors import AlreadyExists, Forbidden, NotFound
from datalayer.history.user_names import by_name
from datalayer.ownership import Actor, kind_of, projects_deletable_by
from datalayer.records.usage import DeletedProject, Project, Provider
from datalayer.schema.chat import users
from datalayer.schema.keys import api_keys, api_replies
from datalayer.schema.rows import columns, given, record_of
from datalayer.schema.usage import llm_calls, projects, providers, usage_limits

DETACHED_AT_ONCE = 1_000
"""Calls of a deleted project that one transaction changes: other writes wait for it."""
_COLUMNS = (*columns(Project, projects), users.c.identifier.label("owner"))
_PROVIDER_COLUMNS = columns(Provider, providers)


async def list_all(connection: AsyncConnection) -> list[Project]:
    """All projects with their providers, by slug."""
    found: dict[str, list[Provider]] = defaultdict(list)
    statement = select(providers.c.projectId, *_PROVIDER_COLUMNS).order_by(providers.c.slug)
    for row in (await connection.execute(statement)).mappings():
        found[row["projectId"]].append(record_of(Provider, providers, row))
    statement = select(*_COLUMNS).join(users, users.c.id == projects.c.ownerId, isouter=True).order_by(projects.c.slug)
    rows = (await connection.execute(statement)).mappings().all()
    return [
        replace(
            record_of(Project, projects, row),
            tags=tuple(row["tags"] or ()),
            owner=row["owner"],
            providers=tuple(found[row["id"]]),
        )
        for row in rows
    ]


async def get(connection: AsyncConnection, slug: str) -> Project | None:
    return next((one for one in await list_all(connection) if one.slug == slug), None)


async def demand(connection: AsyncConnection, slug: str, only_if: Condition[Project] | None) -> None:
    """Require that the project is as the condition wants it, and lock it.

    Raises:
        NotFound: there is no such project.
        RecordChanged: it is another.
    """
    if only_if is not None:
        await connection.execute(select(projects.c.id).where(projects.c.slug == slug).with_for_update())
        demand_unchanged(await get(connection, slug), only_if, f"the project {slug}")


async def id_of(connection: AsyncConnection, slug: str) -> str | None:
    found: str | None = (await connection.execute(select(projects.c.id).where(projects.c.slug == slug))).scalar()
    return found


async def upsert(connection: AsyncConnection, dialect: Dialect, project: Project, *, is_new: bool = False) -> Project:
    """Store the project with its providers, or replace the one with this slug, whose id stays; returns it as stored.

    Raises:
        AlreadyExists: it should be new, and there is one with this slug.
        NotFound: no user has the owner's identifier.
    """
    owner_id = None
    if project.owner is not None:
        statement = by_name(select(users.c.id), project.owner)
        owner_id = (await connection.execute(statement)).scalar()
        if owner_id is None:
            raise NotFound(f"no user has the name {project.owner!r}")
    values = {
        "name": project.name,
        "description": project.description,
        "tags": list(project.tags) or None,
        "ownerId": owner_id,
        "organisation": project.organisation,
    }
    new = dialect.insert(projects).values(id=project.id, slug=project.slug, createdAt=project.created_at, **values)
    if is_new:
        new = new.on_conflict_do_nothing(index_elements=[projects.c.slug])
    else:
        new = new.on_conflict_do_update(index_elements=[projects.c.slug], set_=values)
    stored = (await connection.execute(new.returning(projects.c.id, projects.c.createdAt))).first()
    if stored is None:
        raise AlreadyExists(f"there is a project {project.slug!r} already")
    await connection.execute(delete(providers).where(providers.c.projectId == stored.id))
    for provider in project.providers:
        await connection.execute(insert(providers).values(projectId=stored.id, **given(provider, providers)))
    return replace(project, id=stored.id, created_at=stored.createdAt)


async def revoke_keys(connection: AsyncConnection, slug: str, actor: Actor, now: str) -> tuple[str, dict[str, str]]:
    """Revoke the keys of a project that is to be deleted; gives its id, and the users of these keys by id.

    Raises:
        NotFound: there is no such project.
        Forbidden: the actor may not delete it.
    """
    # Locked first: a key that is made at the same time is either revoked here, or finds no project.
    held = select(projects.c.id).where(projects.c.slug == slug).with_for_update()
    known: str | None = (await connection.execute(held)).scalar()
    if known is None:
        raise NotFound(f"there is no project {slug!r}")
    may = select(projects.c.id).where(projects.c.id == known, projects_deletable_by(kind_of(actor)))
    if (await connection.execute(may, {"actor": actor} if isinstance(actor, str) else {})).first() is None:
        raise Forbidden(f"the project {slug} belongs to someone else")
    own = (api_keys.c.projectId == known) & api_keys.c.revokedAt.is_(None)
    revoked = update(api_keys).where(own).values(revokedAt=now).returning(api_keys.c.id, api_keys.c.userId)
    keys = {row[0]: row[1] for row in await connection.execute(revoked)}
    await connection.execute(delete(api_replies).where(api_replies.c.keyId.in_(keys)))
    return known, keys


async def detach_calls(connection: AsyncConnection, project_id: str, since: str) -> str | None:
    """Let at most `DETACHED_AT_ONCE` calls, the oldest since this time, be of no project.

    Returns:
        The time from which to go on; None if no more calls were found.
    """
    chosen = (
        select(llm_calls.c.id)
        .where(llm_calls.c.projectId == project_id, llm_calls.c.requestedAt >= since)
        .order_by(llm_calls.c.requestedAt)
        .limit(DETACHED_AT_ONCE)
    )
    detached = update(llm_calls).where(llm_calls.c.id.in_(chosen)).values(projectId=None)
    times = (await connection.execute(detached.returning(llm_calls.c.requestedAt))).scalars().all()
    return max(times) if len(times) == DETACHED_AT_ONCE else None


async def remove(connection: AsyncConnection, project_id: str, slug: str) -> DeletedProject:
    """Delete the project with its providers and limits. Its keys are revoked, and nearly all of its calls detached."""
    of_project = (usage_limits.c.scope == "project") & (usage_limits.c.subjectId == project_id)
    limits = (await connection.execute(delete(usage_limits).where(of_project).returning(usage_limits.c.id))).scalars()
    of_it = delete(providers).where(providers.c.projectId == project_id).returning(providers.c.slug)
    slugs = (await connection.execute(of_it)).scalars().all()
    limit_ids = tuple(sorted(limits))
    await connection.execute(delete(projects).where(projects.c.id == project_id))
    return DeletedProject(project_id, slug, tuple(sorted(slugs)), (), limit_ids)
