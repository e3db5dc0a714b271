"""Parts that several statements share."""

from typing import Any

from sqlalchemy import (
    CTE,
    BindParameter,
    ColumnElement,
    SelectBase,
    Text,
    bindparam,
    exists,
    false,
    func,
    insert,
    select,
)
from sqlalchemy.types import TypeEngine

from datalayer.ownership import Actor, kind_of, writable_by
from datalayer.schema.chat import blob_deletions, threads


def given(name: str, kind: TypeEngine[Any]) -> BindParameter[Any]:
    """A value that differs from call to call."""
    return bindparam(f"new_{name}", type_=kind, required=True)


def acting(actor: Actor) -> dict[str, Any]:
    """The parameter of the conditions that `ownership` makes for this kind of actor."""
    return {"actor": actor} if kind_of(actor) == "" else {}


def thread_of(thread_id: ColumnElement[str], kind: Actor, *, is_locked: bool = False) -> CTE:
    """The thread, and in `is_own` whether the actor may write to it.

    Args:
        is_locked: a deletion of the thread waits for the statement, or the statement waits and finds no thread.
    """
    is_own = func.coalesce(writable_by(kind, threads.c.userIdentifier), false()).label("is_own")
    found = select(threads.c.id, is_own).where(threads.c.id == thread_id)
    return (found.with_for_update(read=True, key_share=True) if is_locked else found).cte("thread")


def is_foreign(thread: CTE) -> ColumnElement[bool]:
    """Whether the thread exists and the actor may not write to it."""
    return exists(select(thread.c.id).where(~thread.c.is_own))


def queued_files(files: SelectBase) -> CTE:
    """Queue these files for deletion; `files` has the columns `objectKey` and `threadId`. Gives `objectKey`."""
    found = files.subquery("files")
    moment = given("queuedAt", Text())
    row = select(found.c.objectKey, found.c.threadId, moment, moment).where(found.c.objectKey.is_not(None))
    queued = insert(blob_deletions).from_select(["objectKey", "threadId", "queuedAt", "dueAt"], row)
    return queued.returning(blob_deletions.c.objectKey).cte("queued")
