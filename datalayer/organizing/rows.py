"""SQL of the order among a user's threads."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Executable, bindparam, case, func, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.database import Database
from datalayer.dialects import Dialect
from datalayer.ownership import Actor, kind_of, may_write, readable_by
from datalayer.records.chat import Folder
from datalayer.schema.chat import IS_ARCHIVED, IS_TEMPORARY, Identifier, threads


async def folders(database: Database, user_id: str, actor: Actor) -> list[Folder]:
    """The tags of the user's threads with the number of threads, in alphabetical order."""
    found = await database.fetch(_folders(type(database.dialect), kind_of(actor)), {"user_id": user_id, "actor": actor})
    return sorted((Folder(*row) for row in found), key=lambda one: (one.tag.casefold(), one.tag))


@cache
def _folders(dialect: type[Dialect], actor: Actor) -> Executable:
    each = dialect.each(threads.c.tags)
    user_id = bindparam("user_id", type_=Identifier, required=True)
    return (
        select(each.c.value, func.count())
        .select_from(threads.join(each, true()))
        .where(threads.c.userId == user_id, threads.c.tags.is_not(None), ~IS_ARCHIVED, ~IS_TEMPORARY)
        .where(readable_by(actor))
        .group_by(each.c.value)
    )


async def lock_own(connection: AsyncConnection, thread_ids: Sequence[str], actor: Actor) -> dict[str, Sequence[str]]:
    """The tags of those of the threads that the actor may change, by id, locked until the transaction ends."""
    columns = threads.c.id, threads.c.userIdentifier, threads.c.tags
    found = select(*columns).where(threads.c.id.in_(thread_ids)).order_by(threads.c.id).with_for_update()
    rows = (await connection.execute(found)).all()
    return {thread_id: tags or () for thread_id, owner, tags in rows if may_write(actor, owner)}


async def mark(connection: AsyncConnection, thread_ids: Collection[str], marks: Mapping[str, str | None]) -> None:
    """Set or clear times. A time that is there already stays."""
    values: dict[str, Any] = {
        name: None if moment is None else case((threads.c[name].is_(None), moment), else_=threads.c[name])
        for name, moment in marks.items()
    }
    await connection.execute(update(threads).where(threads.c.id.in_(thread_ids)).values(values))


async def tag(connection: AsyncConnection, tags: Mapping[str, Sequence[str]]) -> None:
    """Give threads these tags."""
    same: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for thread_id, of_thread in tags.items():
        same[tuple(of_thread)].append(thread_id)
    for chosen, thread_ids in same.items():
        await connection.execute(update(threads).where(threads.c.id.in_(thread_ids)).values(tags=list(chosen) or None))
