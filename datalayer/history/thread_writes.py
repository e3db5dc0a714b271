"""The statement that stores a thread and also checks its owner: one round trip, no transaction."""

from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Executable, bindparam, exists, func, null, select, union_all, update

from datalayer.dialects import Dialect
from datalayer.ownership import Actor, kind_of, writable_by
from datalayer.records.chat import Thread
from datalayer.schema.chat import Json, threads, users
from datalayer.schema.rows import given


def upsert(dialect: Dialect, thread: Thread, now: str, *, actor: Actor) -> tuple[Executable, dict[str, Any]]:
    """The statement, and its values, that creates the thread or changes the given fields.

    Metadata is merged by key, and None removes a key. A new thread without a user belongs to the actor. The thread must
    belong to the actor before, if it exists, and after.

    The statement gives a row if it stored anything. Otherwise there was nothing to change, the actor may not change it,
    or the thread was deleted.
    """
    values = given(thread, threads)
    changed = tuple(name for name in values if name not in ("id", "createdAt"))
    values.setdefault("createdAt", now)
    values.setdefault("updatedAt", values["createdAt"])
    values["metadata"] = {key: value for key, value in (thread.metadata or {}).items() if value is not None}
    parameters = {_new(name): value for name, value in values.items()}
    if thread.metadata is not None:
        parameters["merged_metadata"] = thread.metadata
    if isinstance(actor, str):
        parameters["actor"] = actor
    removes = None in (thread.metadata or {}).values()
    return _statement(type(dialect), tuple(values), changed, kind_of(actor), removes=removes), parameters


@lru_cache
def _statement(
    dialect: type[Dialect], names: tuple[str, ...], changed: tuple[str, ...], kind: Actor, *, removes: bool
) -> Executable:
    """The statement that stores these columns, and changes those of an existing thread; it gives a row if it did.

    Args:
        removes: whether the given metadata has keys to remove.
    """
    values: dict[str, ColumnElement[Any]] = {
        name: bindparam(_new(name), type_=threads.c[name].type, required=True) for name in names
    }
    owner: ColumnElement[Any] = values.get("userIdentifier", null())
    if "userId" in names:
        named = select(users.c.identifier).where(users.c.id == values["userId"]).scalar_subquery()
        owner = values["userIdentifier"] = func.coalesce(named, owner) if "userIdentifier" in names else named
        changed = (*changed, "userIdentifier")
    elif isinstance(kind, str):
        owner = values["userIdentifier"] = bindparam("actor", type_=threads.c.userIdentifier.type, required=True)
        values["userId"] = select(users.c.id).where(users.c.identifier == owner).scalar_subquery()
    may_change, may_own = writable_by(kind, threads.c.userIdentifier), writable_by(kind, owner)
    if isinstance(kind, str) and "userIdentifier" in values:
        # `may_own` says that it is the actor; looking the name up for each place took a third of the statement's time.
        values["userIdentifier"] = bindparam("actor", type_=threads.c.userIdentifier.type, required=True)
    changes = {name: values[name] for name in changed}
    if "metadata" in changed:
        merged = bindparam("merged_metadata", type_=Json, required=True)
        changes["metadata"] = dialect.merge_json(threads.c.metadata, merged, removes=removes)
    row = select(*values.values()).where(may_own)
    changes_first = dialect.changes_in_ctes and bool(changes)
    if changes_first:
        there = threads.alias("there")
        row = row.where(~exists(select(there.c.id).where(there.c.id == values["id"])))
    made = dialect.insert(threads).from_select(list(values), row)
    stored = (
        made.on_conflict_do_update(index_elements=[threads.c.id], set_=changes, where=may_change)
        if changes
        else made.on_conflict_do_nothing(index_elements=[threads.c.id])
    )
    returning: Executable = stored.returning(threads.c.id)
    if not changes_first:
        return returning
    # Most threads exist. An insert of one that does would fire a trigger and look for the conflict before the change.
    # A thread that another process has created since the statement began is still a conflict.
    first = update(threads).where(threads.c.id == values["id"], may_change, may_own).values(**changes)
    of_known, of_new = first.returning(threads.c.id).cte("changed"), stored.returning(threads.c.id).cte("made")
    return union_all(select(of_known.c.id), select(of_new.c.id))


def _new(column: str) -> str:
    return f"new_{column}"
