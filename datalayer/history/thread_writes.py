"""Stores a thread in one statement that also checks its owner: one round trip, no transaction."""

from typing import Any

from sqlalchemy import ColumnElement, Text, func, literal, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.ownership import SYSTEM, Actor
from datalayer.records.chat import Thread
from datalayer.schema.chat import threads, users
from datalayer.schema.rows import given


async def upsert(connection: AsyncConnection, dialect: Dialect, thread: Thread, now: str, *, actor: Actor) -> bool:
    """Create the thread, or change the given fields; metadata is merged by key, and None removes a key.

    Only a name or a user creates a thread: the metadata that a session writes when it ends must not restore a deleted
    thread. The thread must belong to the actor before, if it exists, and after.

    Returns:
        True if anything was stored. Otherwise there was nothing to change, or the actor may not change it.
    """
    values = given(thread, threads)
    changes: dict[str, Any] = {key: value for key, value in values.items() if key not in ("id", "createdAt")}
    owner: ColumnElement[Any] = literal(thread.user_identifier, Text)
    if thread.user_id is not None:
        named = select(users.c.identifier).where(users.c.id == thread.user_id).scalar_subquery()
        owner = values["userIdentifier"] = changes["userIdentifier"] = func.coalesce(named, owner)
    if thread.metadata is not None:
        values["metadata"] = {key: value for key, value in thread.metadata.items() if value is not None}
        changes["metadata"] = dialect.merge_json(threads.c.metadata, thread.metadata)
    is_nobodys = thread.user_id is None and isinstance(actor, str)
    if is_nobodys or (thread.name is None and thread.user_id is None):
        # Nothing to create: a thread without an owner would not belong to the actor.
        if not changes:
            return False
        statement = update(threads).where(threads.c.id == thread.id, _is(threads.c.userIdentifier, actor))
        return bool((await connection.execute(statement.values(**changes))).rowcount)
    values.setdefault("createdAt", now)
    values.setdefault("updatedAt", values["createdAt"])
    row = select(*(_typed(key, value) for key, value in values.items())).where(_is(owner, actor))
    made = dialect.insert(threads).from_select(list(values), row)
    stored = made.on_conflict_do_update(
        index_elements=[threads.c.id], set_=changes, where=_is(threads.c.userIdentifier, actor)
    )
    return bool((await connection.execute(stored)).rowcount)


def _is(owner: ColumnElement[Any], actor: Actor) -> ColumnElement[bool]:
    """`may_write`, as a condition."""
    return true() if actor is SYSTEM else owner.is_not_distinct_from(literal(actor, Text))


def _typed(column: str, value: Any) -> ColumnElement[Any]:
    return value if isinstance(value, ColumnElement) else literal(value, threads.c[column].type)
